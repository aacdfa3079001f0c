"""Where replicas run, one package per technology: hosts (processes, Docker) and engines of their own (Kubernetes)."""
