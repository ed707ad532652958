"""Whether the files beside this one still fit p2p-fed, and are what Docker, Compose, Kubernetes and systemd take.

`make deploy-check` runs it. Nothing is started and no network is used. Three questions are asked of everything:

* Is it well-formed? hadolint, the schema of Compose, `kustomize build` and the schemas of the oldest and the newest
  Kubernetes known here, `systemd-analyze verify`.
* Does the binary take it? Each command line of p2p-fed is parsed by p2p-fed, by `--help` put behind it, which comes to
  nothing where a flag or a value before it is refused. Each variable must be one that the command knows.
* Does it hang together? Selectors select, names of ports, Secrets, volumes and peers lead somewhere, a grace period is
  longer than the drain, and pods ask for as little as the namespace demands.

Each problem is a line on stderr, and the exit code then is 1.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
KUBERNETES = HERE / "kubernetes"
OVERLAYS = ["base", "host", "host-network"]
# `preStop.sleep` came with it.
OLDEST = "1.30"
# What the cluster fills in, as it may look.
FIELDS = {"spec.nodeName": "node-1", "status.hostIP": "192.0.2.7"}
# Not flags of one command: the token and the log, which all know.
COMMON = {"P2P_FED_TOKEN", "P2P_FED_LOG", "P2P_FED_LOG_FORMAT"}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class Report:
    """What was found, and how much was looked at."""

    def __init__(self):
        self.problems = 0
        self.lines = 0
        self.resources = 0

    def problem(self, where, what):
        self.problems += 1
        print(f"{where}: {what}", file=sys.stderr)

    def run(self, where, command, **options):
        """Runs a checker; what it says is the problem if it is not content."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        if done.returncode != 0:
            self.problem(where, (done.stdout + done.stderr).strip() or f"{command[0]}: exit code {done.returncode}")
        return done


class Binary:
    """The p2p-fed whose flags are asked."""

    def __init__(self, path, report):
        self.path = path
        self.report = report
        self.helps = {}

    def ask(self, arguments):
        # Nothing of the environment: it could set what the line does not.
        return subprocess.run(
            [self.path, *arguments, "--help"], capture_output=True, text=True, timeout=30, env={"HOME": "/nonexistent"}
        )

    def parse(self, where, arguments):
        """One command line, without the program's name."""
        self.report.lines += 1
        done = self.ask(arguments)
        if done.returncode != 0 or "Usage: p2p-fed" not in done.stdout:
            self.report.problem(where, f"p2p-fed {shlex.join(arguments)}: {done.stderr.strip() or 'not understood'}")

    def variables(self, where, command, names):
        """Variables that are set for a command."""
        if command not in self.helps:
            self.helps[command] = set(re.findall(r"\[env: (P2P_FED_\w+)=", self.ask([command]).stdout)) | COMMON
        for name in names:
            if name.startswith("P2P_FED_") and name not in self.helps[command]:
                self.report.problem(where, f"p2p-fed {command} knows no variable {name}")


def seconds(span):
    """A span as p2p-fed and Compose write it: 1m30s."""
    parts = re.findall(r"(\d+)(ms|s|m|h)", span)
    if not parts or "".join(map("".join, parts)) != span:
        raise ValueError(f"{span} is no span of time")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def drain(arguments):
    """How long a node with these arguments may take to stop; 30 s unless it is told otherwise."""
    return next((seconds(a.split("=", 1)[1]) for a in arguments if a.startswith("--drain-timeout=")), 30)


def peers(arguments):
    """Names that a node dials."""
    return [name for a in arguments for name in re.findall(r"^--peer=/dns4/([^/]+)/", a)]


# === Units ===


def units(report, binary, work):
    found = sorted(HERE.glob("*.service"))
    for unit in found:
        text = unit.read_text()
        for line in re.findall(r"^ExecStart=(.*)$", text, re.M):
            program, *arguments = shlex.split(line)
            if program != "/usr/local/bin/p2p-fed":
                report.problem(unit.name, f"{program} is not where the README installs p2p-fed")
            binary.parse(unit.name, arguments)
            names = [pair.split("=")[0] for line in re.findall(r"^Environment=(.*)$", text, re.M) for pair in line.split()]
            binary.variables(unit.name, arguments[0], names)
        # Verified is also that the program is there.
        (work / unit.name).write_text(text.replace("/usr/local/bin/p2p-fed", str(binary.path)))
    if not shutil.which("systemd-analyze"):
        return "the units not verified: no systemd-analyze here"
    done = report.run("units", ["systemd-analyze", "verify", "--man=no", *(str(work / unit.name) for unit in found)])
    # What it does not know it ignores, and says so; other units of the machine are not ours to judge.
    for line in done.stderr.splitlines():
        if done.returncode == 0 and any(unit.name in line for unit in found):
            report.problem("units", line)
    return f"{len(found)} units verified"


# === Image and Compose ===


def image(report, binary):
    file = HERE / "Dockerfile"
    report.run(file.name, [Path(sys.executable).with_name("hadolint"), str(file)])
    for line in re.findall(r"^[^#\n]*\bCMD (\[.*\])$", file.read_text(), re.M):
        command = json.loads(line)
        binary.parse(file.name, command[1:] if command[0] == "/p2p-fed" else command)


def compose(report, binary):
    file = HERE / "compose.yaml"
    tool = Path(sys.executable).with_name("check-jsonschema")
    report.run(file.name, [tool, "--builtin-schema", "vendor.compose-spec", str(file)])
    project = yaml.safe_load(file.read_text())
    services = project["services"]
    for name, service in services.items():
        where = f"{file.name}: {name}"
        for other in service.get("depends_on", []):
            if other not in services:
                report.problem(where, f"depends on {other}, which is not there")
        for volume in service.get("volumes", []):
            if volume.split(":")[0] not in project["volumes"]:
                report.problem(where, f"no volume for {volume}")
        if not service["image"].startswith("p2p-fed"):
            continue
        arguments = service["command"]
        binary.parse(where, arguments)
        for peer in peers(arguments):
            if peer not in services:
                report.problem(where, f"dials {peer}, which is not there")
        if seconds(service["stop_grace_period"]) <= drain(arguments):
            report.problem(where, "is killed while it drains")


# === Kubernetes ===


def rendered(report, kustomize, binary, work):
    """What each overlay comes to, and the file that belongs to none."""
    copy = work / "kubernetes"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(KUBERNETES, copy)
    token = subprocess.run([binary.path, "token"], capture_output=True, text=True, check=True, timeout=30)
    (copy / "base/token").write_text(token.stdout)
    listed = {"ping.yaml"}
    sets = {}
    for overlay in OVERLAYS:
        done = report.run(overlay, [kustomize, "build", str(copy / overlay)])
        if done.returncode == 0:
            sets[overlay] = list(yaml.safe_load_all(done.stdout))
        kustomization = yaml.safe_load((KUBERNETES / overlay / "kustomization.yaml").read_text())
        files = kustomization["resources"] + [patch["path"] for patch in kustomization.get("patches", [])]
        listed |= {f"{overlay}/{file}" for file in ["kustomization.yaml", *files]}
    for file in KUBERNETES.rglob("*.yaml"):
        if str(file.relative_to(KUBERNETES)) not in listed:
            report.problem(file.relative_to(HERE), "no kustomization has it")
    # It is applied beside base.
    secrets = [resource for resource in sets.get("base", []) if resource["kind"] == "Secret"]
    sets["ping.yaml"] = list(yaml.safe_load_all((KUBERNETES / "ping.yaml").read_text())) + secrets
    return sets


def kubernetes(report, binary, sets):
    newest = kubernetes_validate.latest_version()
    for name, resources in sets.items():
        report.resources += len(resources)
        for resource in resources:
            where = f"{name}: {resource['kind']} {resource['metadata']['name']}"
            for version in (OLDEST, newest):
                try:
                    kubernetes_validate.validate(resource, version, strict=True)
                except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                    report.problem(where, f"Kubernetes {version}: {error.message}")
            for labels, pod in pods(resource):
                commands(report, binary, where, pod)
                modest(report, where, pod)
                wired(report, where, pod, resources)
        selected(report, name, resources)


def pods(resource):
    """The pod of a resource, as its labels and what it is."""
    if resource["kind"] == "Pod":
        return [(resource["metadata"]["labels"], resource["spec"])]
    template = resource.get("spec", {}).get("template")
    return [(template["metadata"]["labels"], template["spec"])] if template else []


def containers(pod):
    return pod["containers"] + pod.get("initContainers", [])


def value(variable):
    return variable.get("value") or FIELDS.get(variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"), "")


def commands(report, binary, where, pod):
    """What p2p-fed is told, with the variables filled in as Kubernetes does."""
    for container in containers(pod):
        if not container["image"].startswith("p2p-fed"):
            continue
        env = {variable["name"]: value(variable) for variable in container.get("env", [])}
        arguments = [re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), text) for text in container["args"]]
        binary.parse(where, arguments)
        binary.variables(where, arguments[0], env)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            command = container.get(probe, {}).get("exec", {}).get("command")
            if command and command[0] != "/p2p-fed":
                report.problem(where, f"{probe}: the image has nothing but /p2p-fed")
            elif command:
                binary.parse(where, command[1:])
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if arguments[0] != "ping" and pod.get("terminationGracePeriodSeconds", 30) <= drain(arguments) + sleep:
            report.problem(where, "is killed while it drains")


def modest(report, where, pod):
    """What the namespace demands (`restricted`), and besides it a root that nobody writes, and resources."""
    user = pod.get("securityContext", {})
    demands = [
        (user.get("runAsNonRoot") is True and user.get("runAsUser"), "runs as root"),
        (user.get("seccompProfile", {}).get("type") == "RuntimeDefault", "seccompProfile is not RuntimeDefault"),
        (pod.get("automountServiceAccountToken") is False, "has a token of the cluster"),
        (pod.get("enableServiceLinks") is False, "is told of Services in variables"),
        (not pod.get("hostPID") and not pod.get("hostIPC"), "sees the machine's processes"),
        (not pod.get("hostNetwork") or where.startswith("host-network:"), "has the machine's network"),
        (all({"emptyDir", "persistentVolumeClaim"} & volume.keys() for volume in pod["volumes"]), "has another volume"),
    ]
    for container in containers(pod):
        name, security, resources = container["name"], container.get("securityContext", {}), container.get("resources", {})
        demands += [
            (security.get("allowPrivilegeEscalation") is False, f"{name}: may get privileges"),
            (security.get("capabilities") == {"drop": ["ALL"]}, f"{name}: has capabilities"),
            (security.get("readOnlyRootFilesystem") is True, f"{name}: may write its root"),
            (not security.get("privileged") and "runAsUser" not in security, f"{name}: is somebody else"),
            ({"cpu", "memory"} <= resources.get("requests", {}).keys(), f"{name}: requests no resources"),
            ("memory" in resources.get("limits", {}), f"{name}: has no limit of memory"),
            (re.search(r":(?!latest)[^/]+$", container["image"]), f"{name}: image without a version"),
        ]
    for met, otherwise in demands:
        if not met:
            report.problem(where, otherwise)


def wired(report, where, pod, resources):
    """What a pod names is there."""
    secrets = {r["metadata"]["name"]: r.get("data", {}) for r in resources if r["kind"] == "Secret"}
    services = {r["metadata"]["name"] for r in resources if r["kind"] == "Service"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
    for name in volumes ^ mounted:
        report.problem(where, f"volume {name} is {'not mounted' if name in volumes else 'not there'}")
    for container in containers(pod):
        for variable in container.get("env", []):
            key = variable.get("valueFrom", {}).get("secretKeyRef")
            if key and key["key"] not in secrets.get(key["name"], {}):
                report.problem(where, f"no Secret {key['name']} with the key {key['key']}")
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("tcpSocket", {}).get("port")
            if port and port not in ports:
                report.problem(where, f"{probe}: no port {port}")
        for peer in peers(container.get("args", [])):
            # A pod's name before that of its Service, or the Service's alone.
            if peer.split(".")[-1] not in services:
                report.problem(where, f"dials {peer}, which is no Service")


def selected(report, name, resources):
    """Each selector selects, and each Service's port is one of the pods'."""
    all_pods = [pod for resource in resources for pod in pods(resource)]

    def matching(labels):
        return [pod for have, pod in all_pods if labels.items() <= have.items()]

    for resource in resources:
        where, spec = f"{name}: {resource['kind']} {resource['metadata']['name']}", resource.get("spec", {})
        if resource["kind"] == "Service":
            found = matching(spec["selector"])
            ports = {(p["name"], p["protocol"]) for pod in found for c in containers(pod) for p in c.get("ports", [])}
            for port in spec["ports"]:
                if (port["targetPort"], port["protocol"]) not in ports:
                    report.problem(where, f"no pod has the port {port['targetPort']}")
        elif resource["kind"] == "NetworkPolicy":
            if not matching(spec["podSelector"].get("matchLabels", {})):
                report.problem(where, "selects no pod")
        elif resource["kind"] in ("Deployment", "DaemonSet", "PodDisruptionBudget"):
            if not matching(spec["selector"]["matchLabels"]):
                report.problem(where, "selects no pod")


# === What the documentation says ===


def prose(report, binary):
    """Command lines in the README's blocks, and in the comments at the top of the other files."""
    for file in [HERE / "README.md", HERE / "compose.yaml", *sorted(KUBERNETES.rglob("*.yaml"))]:
        shown = r"```sh\n(.*?)```" if file.suffix == ".md" else r"^#   (.*)$"
        blocks = re.findall(shown, file.read_text(), re.M | re.S if file.suffix == ".md" else re.M)
        # The namespace has the name, too. What follows a command is a comment, a pipe, a file or the end of a subshell.
        lines = re.findall(r"(?<!--namespace )\bp2p-fed(?::[\d.]+)? ([a-z][^#|>()\n]*)", "\n".join(blocks))
        for line in lines:
            binary.parse(file.relative_to(HERE), shlex.split(line.rstrip('" ')))
        if file.suffix == ".md" and not lines:
            report.problem(file.name, "no command line of p2p-fed found")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, type=Path, help="the p2p-fed whose flags are asked")
    parser.add_argument("--kustomize", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path, help="a folder for what is made on the way")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    report = Report()
    binary = Binary(arguments.bin.resolve(), report)
    image(report, binary)
    compose(report, binary)
    kubernetes(report, binary, rendered(report, arguments.kustomize.resolve(), binary, arguments.work))
    prose(report, binary)
    said = units(report, binary, arguments.work)
    if report.problems:
        sys.exit(f"deploy-check: {report.problems} problems")
    print(f"deploy-check: {report.lines} command lines and {report.resources} resources are as they should be; {said}")


if __name__ == "__main__":
    main()
