"""What the checks stand on: two replicas of the gateway, and a real proxy in front of them, each on a free port of the
loopback interface. The proxies run with the files of packaging/proxies; only ports and the certificate's folder differ."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = HERE.parent.parent / "packaging" / "proxies"
REPLICAS = ("a", "b")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def end(processes, seconds=15):
    """Asks all of them, then waits for each."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Replicas:
    """Two gateways at the same two ports, each time they are started."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.running = binary, folder, {}
        self.ports = dict(zip(REPLICAS, free_ports(2)))

    def start(self, options, command):
        for name, port in self.ports.items():
            ready = self.folder / f"ready-{name}"
            ready.unlink(missing_ok=True)
            words = [self.binary, "--listen", f"127.0.0.1:{port}", "--replica", name, "--allowed-host", "mcp.example.com"]
            words += ["--ready-file", str(ready), "--env", f"REPLICA={name}", "--drain", "1s", *options, "--", *command]
            log = open(self.folder / f"gateway-{name}.log", "ab")
            self.running[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            until(f"replica {name} is ready", lambda: ready.exists() or self.running[name].poll() is not None)
            assert self.running[name].poll() is None, f"replica {name} ended: {self.log(name)}"

    def log(self, name):
        return (self.folder / f"gateway-{name}.log").read_text(errors="replace")[-600:]

    def stop(self, *names):
        end([self.running.pop(name) for name in names or REPLICAS if name in self.running])


class Proxy:
    """A program of its distribution package, with the configuration that is shipped."""

    def __init__(self, name, folder, ports):
        self.name, self.folder, self.ports = name, folder, ports
        (self.port,) = free_ports(1)
        self.environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    def file(self, name):
        """The shipped file, at these ports."""
        text = (FILES / name).read_text()
        for default, port in (("8081", self.ports["a"]), ("8082", self.ports["b"])):
            text = text.replace(f"127.0.0.1:{default}", f"127.0.0.1:{port}")
        return text.replace("/etc/ssl/mcp", str(self.folder / "tls"))

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def nginx(self):
        site = self.write("mcp.conf", self.file("nginx.conf").replace("listen 443", f"listen 127.0.0.1:{self.port}"))
        # Debian's own file around it, with what it sets for all sites.
        around = Path("/etc/nginx/nginx.conf").read_text()
        around = re.sub(r"(?m)^pid .*;", f"pid {self.folder}/nginx.pid;", around)
        around = re.sub(r"(?m)^(\s*)(access|error)_log .*;", rf"\1\2_log {self.folder}/nginx.\2;", around)
        around = around.replace("include /etc/nginx/sites-enabled/*;", "")
        around = around.replace("include /etc/nginx/conf.d/*.conf;", f"include {site};")
        return ["nginx", "-e", f"{self.folder}/nginx.error", "-c", self.write("nginx.conf", around), "-g", "daemon off;"]

    def haproxy(self):
        text = self.file("haproxy.cfg").replace("bind :443", f"bind 127.0.0.1:{self.port}")
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", text)]

    def apache(self):
        root = self.folder / "apache2"
        shutil.copytree("/etc/apache2", root, symlinks=True)
        shutil.rmtree(root / "sites-enabled")
        (root / "sites-enabled").mkdir()
        text = self.file("apache.conf")
        modules = re.search(r"a2enmod (.*)", text)[1].split()
        (root / "sites-enabled" / "mcp.conf").write_text(text.replace("*:443", f"*:{self.port}"))
        (root / "ports.conf").write_text(f"Listen 127.0.0.1:{self.port}\n")
        for name, value in {
            "CONFDIR": root, "STATE_DIRECTORY": self.folder / "state", "RUN_DIR": self.folder, "LOCK_DIR": self.folder,
            "LOG_DIR": self.folder, "PID_FILE": self.folder / "apache.pid", "RUN_USER": "www-data", "RUN_GROUP": "www-data",
        }.items():
            self.environment[f"APACHE_{name}"] = str(value)
        subprocess.run(["a2enmod", "-q", *modules], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        return ["apache2", "-d", str(root), "-DFOREGROUND"]

    def caddy(self):
        text = self.file("Caddyfile")
        text = text.replace("auto_https disable_redirects", "auto_https disable_redirects\n\tadmin off\n\tskip_install_trust")
        names = f"https://mcp.example.com:{self.port}, https://127.0.0.1:{self.port}"
        return ["caddy", "run", "--adapter", "caddyfile", "--config", self.write("Caddyfile", text.replace("mcp.example.com {", names + " {"))]

    def start(self):
        words = getattr(self, self.name)()
        log = open(self.folder / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        until(f"{self.name} listens", lambda: listens(self.port) or self.process.poll() is not None)
        assert self.process.poll() is None, f"{self.name} ended: {self.log()}"

    def log(self):
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-600:]

    def stop(self):
        end([self.process])


def certificate(folder):
    """An authority of this test's own, and a certificate for the proxy."""
    folder.mkdir()
    names = "subjectAltName=DNS:mcp.example.com,DNS:localhost,IP:127.0.0.1"

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=mcp.example.com")
    (folder / "names").write_text(names)
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "cert.pem", "-days", "2",
            "-extfile", "names", "-set_serial", "1")  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


PYTHON = [sys.executable, "-SE", str(HERE / "server.py")]
