"""Java and Kotlin services: Maven and Gradle, alone or as modules of one build; Spring Boot, Quarkus, plain programs."""

import re
from collections.abc import Iterator, Mapping

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import any_has, health_path, port_of, texts
from atoll.adopt.tree import Tree

_GRADLE = ("build.gradle", "build.gradle.kts")
_MODULE = re.compile(r"<module>\s*([\w./-]+)\s*</module>")
_INCLUDE = re.compile(r"""["']:?([\w:./-]+)["']""")
START = "2m"  # a JVM with a framework on a busy machine


def markers(tree: Tree, folder: str) -> str:
    """The build file of a folder, "" without one."""
    return next((name for name in ("pom.xml", *_GRADLE) if tree.has(folder, name)), "")


def modules(tree: Tree, folder: str) -> list[str]:
    """The folders of the modules that the build in `folder` names."""
    found = _MODULE.findall(tree.text(join(folder, "pom.xml")))
    for name in ("settings.gradle", "settings.gradle.kts"):
        for line in re.findall(r"^\s*include\b[^\n]*(?:,\s*\n[^\n]*)*", tree.text(join(folder, name)), re.MULTILINE):
            found += [each.strip(":").replace(":", "/") for each in _INCLUDE.findall(line)]
    return [join(folder, each) for each in dict.fromkeys(found) if markers(tree, join(folder, each))]


def read(tree: Tree, folder: str, top: str) -> Iterator[Found]:
    """The service of a module. `top` is the folder of the whole build: its own, when it stands alone."""
    name = markers(tree, folder)
    at = "" if folder == "." else f"{folder}/"
    build = tree.text(f"{at}{name}")
    files = texts(tree, (p for p in tree.below(folder) if p.endswith((".java", ".kt")) and "/test/" not in p))
    settings = texts(
        tree,
        (p for p in tree.below(folder) if re.search(r"src/main/resources/application[^/]*\.(?:ya?ml|properties)$", p)),
    )
    boot = "spring-boot-maven-plugin" in build or "org.springframework.boot" in build
    boot = boot and bool(any_has(files, r"SpringApplication|@SpringBootApplication|runApplication"))
    quarkus = "io.quarkus" in build
    grpc = bool(any_has(files, r"ServerBuilder|NettyServerBuilder")) and not boot and not quarkus
    application = bool(
        re.search(
            r"id\s*\(?[\"'](?:application|io\.micronaut\.application)[\"']|apply plugin:\s*[\"']application|exec-maven-plugin",
            build,
        )
    )
    if not (boot or quarkus or (application and any_has(files, r"(?:static void|fun) main\("))):
        return
    found = Found(name=slug(_name(tree, folder, build)), folder=folder, source=f"{at}{name}")
    found.language = "maven" if name == "pom.xml" else "gradle"
    found.context = up(folder, top)
    path = below(folder, top) or "."
    maven = name == "pom.xml"
    (_maven if maven else _gradle)(found, tree, top, path, build, boot=boot, quarkus=quarkus)
    found.health_fields = {"start_budget": START}
    if grpc:
        found.protocol = "grpc"
        found.health = "grpc" if any_has(files, r"HealthStatusManager|HealthGrpc") else "tcp"
    elif boot and not re.search(
        r"starter-web|starter-webflux|starter-gateway|gateway-server|starter-jersey|eureka-server|config-server|admin-starter",
        build,
    ):
        found.protocol = "none"
        found.run = str(found.run).replace(" --server.port={port}", "")
    else:
        _health(found, build, files, settings)
    if not (boot or quarkus) and "io.micronaut" in build:
        found.port_env = "MICRONAUT_SERVER_PORT"  # what Micronaut reads by itself
        if "micronaut-management" in build:
            found.health = "/health"
    elif not (boot or quarkus):
        port = port_of(files)
        found.port_env = "" if port.variable == "PORT" else port.variable
        if not port.variable:
            found.notes["port"] = "no sign that it reads PORT: it must listen there, or take {port} in `run`"
    yield found


def leave_out_others(services: list[Found], tops: Mapping[str, str]) -> None:
    """The sources of other services are no input of a module; their build files are, since the whole build names them."""
    for found in services:
        top = tops.get(found.folder)
        others = [each.folder for each in services if each is not found and tops.get(each.folder) == top]
        if top is not None and found.context != "." and others:
            found.inputs = ["**", *(f"!{path}/src" for each in others if (path := below(each, top)) and path != ".")]


def _name(tree: Tree, folder: str, build: str) -> str:
    if folder != ".":
        return folder.rpartition("/")[2]
    if tree.has(folder, "pom.xml"):
        return _own(build, "artifactId") or "app"
    return _root_project(tree, folder) or "app"


def _root_project(tree: Tree, folder: str) -> str:
    settings = tree.text(join(folder, "settings.gradle")) + tree.text(join(folder, "settings.gradle.kts"))
    found = re.search(r"rootProject\.name\s*=\s*[\"']([^\"']+)", settings)
    return found[1] if found else ""


def _maven(found: Found, tree: Tree, top: str, path: str, build: str, *, boot: bool, quarkus: bool) -> None:
    if path == "." and not quarkus:
        found.run = f"java -jar {found.name}.jar{' --server.port={port}' if boot else ''}"
        return
    command = "./mvnw" if tree.has(top, "mvnw") else "mvn"
    part = "" if path == "." else f" -pl {path} -am"
    found.steps = [f"{command} -B -q -DskipTests{part} package"]
    target = "target" if path == "." else f"{path}/target"
    if quarkus:
        found.run = f"java -Dquarkus.http.port={{port}} -jar {target}/quarkus-app/quarkus-run.jar"
        return
    final = _own(build, "finalName", within="build")
    version = _own(build, "version") or _parent_version(build)
    jar = f"{_own(build, 'artifactId')}-{version}"
    jar = (
        final
        if final and "$" not in final
        else jar
        if version and "$" not in version
        else f"{_own(build, 'artifactId')}-*"
    )
    found.run = f"java -jar {target}/{jar}.jar{' --server.port={port}' if boot else ''}"


def _gradle(found: Found, tree: Tree, top: str, path: str, build: str, *, boot: bool, quarkus: bool) -> None:
    main = re.search(r"mainClass(?:Name)?\s*(?:=|\.set\(|\()?\s*[\"']([\w.$]+)", build)
    if path == "." and boot:
        found.run = f"java -jar {found.name}.jar --server.port={{port}}"
        return
    if path == "." and main and not quarkus:
        found.run = f"java {main[1]}"
        return
    command = "./gradlew" if tree.has(top, "gradlew") else "gradle"
    task = "" if path == "." else f":{path.replace('/', ':')}:"
    below_top = "" if path == "." else f"{path}/"
    if quarkus:
        found.steps = [f"{command} --no-daemon {task}quarkusBuild"]
        found.run = f"java -Dquarkus.http.port={{port}} -jar {below_top}build/quarkus-app/quarkus-run.jar"
    elif boot:
        found.steps = [f"{command} --no-daemon {task}bootJar"]
        found.run = f"exec java -jar {below_top}build/libs/*.jar --server.port={{port}}"
    else:
        found.steps = [f"{command} --no-daemon {task}installDist"]
        named = re.search(r"applicationName\s*=\s*[\"']([\w.-]+)", build)
        name = path.rpartition("/")[2] if path != "." else _root_project(tree, top) or tree.base(top)
        found.run = f"{below_top}build/install/{name}/bin/{named[1] if named else name}"


def _own(pom: str, field: str, within: str = "") -> str:
    """A field of the project itself, not of its parent, dependencies or plugins."""
    text = re.sub(r"<!--.*?-->", "", pom, flags=re.DOTALL)
    for block in ("parent", "dependencies", "dependencyManagement", "plugins", "profiles", "properties", "modules"):
        text = re.sub(rf"<{block}>.*?</{block}>", "", text, flags=re.DOTALL)
    if within:
        part = re.search(rf"<{within}>(.*?)</{within}>", text, re.DOTALL)
        text = part[1] if part else ""
    found = re.search(rf"<{field}>\s*([^<]+?)\s*</{field}>", text)
    return found[1] if found else ""


def _parent_version(pom: str) -> str:
    """The version that a module inherits; not Spring Boot's own."""
    parent = re.search(r"<parent>(.*?)</parent>", pom, re.DOTALL)
    if parent is None or "spring-boot-starter-parent" in parent[1]:
        return ""
    return _own(f"<project>{parent[1]}</project>", "version")


def _health(found: Found, build: str, files: list[tuple[str, str]], settings: list[tuple[str, str]]) -> None:
    """Actuator's or Quarkus' path, else one that the sources show."""
    text = "\n".join(each for _, each in settings)
    prefix = re.search(r"context-path\s*[:=]\s*[\"']?(/[\w/-]+)", text)
    at = prefix[1].rstrip("/") if prefix else ""
    if "spring-boot-starter-actuator" in build:
        found.health = f"{at}/actuator/health"
    elif "smallrye-health" in build:
        found.health = f"{at}/q/health/ready"
    else:
        path, where = health_path(files)
        if path:
            found.health, found.notes["health.ready"] = f"{at}{path}", f"found in {where}"
