"""Certificates of the gateway: reads pairs of files, makes stand-ins, asks an authority by ACME.

`app.daemon` hands its parts to the daemon. It alone knows X.509 and ACME, and nothing of Envoy. No message holds a key.
"""
