# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real receivers of events, for tests: rsyslog and librdkafka's mock cluster."""
import json
import pathlib
import socket
import subprocess
import time

LAB = pathlib.Path(__file__).resolve().parents[2] / "build/lab"


def wait_until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def json_lines(path):
    """Whole lines of a file; one that was cut by SIGKILL has no end."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


class Rsyslog:
    """As tests/lab/fetch unpacked it. Local socket, TCP, TLS with a certificate for `name`; CA in ca.pem, another in other.pem."""

    def __init__(self, folder, name="localhost"):
        self.folder, self.name = folder, name
        self.folder.mkdir()
        self.socket = folder / "log"
        self.tcp, self.tls = free_port(), free_port()
        self.certificates()
        (folder / "rsyslog.conf").write_text(f"""
global(workDirectory="{folder}" maxMessageSize="64k"
       defaultNetstreamDriverCAFile="{folder}/ca.pem"
       defaultNetstreamDriverCertFile="{folder}/server.pem"
       defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imuxsock" sysSock.use="off")
module(load="imtcp")
template(name="line" type="string" string="%pri%\\t%timestamp:::date-rfc3339%\\t%hostname%\\t%app-name%\\t%msgid%\\t%msg%\\n")
""" + "".join(f"""
ruleset(name="{name}") {{ action(type="omfile" file="{folder}/{name}.log" template="line") }}
input({arguments} ruleset="{name}")
""" for name, arguments in (
            ("unix", f'type="imuxsock" socket="{self.socket}" useSpecialParser="off" '
                     'rateLimit.interval="0" useSysTimeStamp="off" '
                     'ignoreTimestamp="off"'),
            ("tcp", f'type="imtcp" address="127.0.0.1" port="{self.tcp}"'),
            ("tls", f'type="imtcp" address="127.0.0.1" port="{self.tls}" streamDriver.name="gtls" '
                    'streamDriver.mode="1" streamDriver.authMode="anon"'))))
        self.process = None

    def certificates(self):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        for name in ("ca", "other"):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
                    "-subj", f"/CN=test {name}")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={self.name}")
        (self.folder / "san").write_text(f"subjectAltName=DNS:{self.name}")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", "server.pem")

    def start(self):
        self.process = subprocess.Popen(
            [LAB / "packaged", "rsyslog", "usr/sbin/rsyslogd", "-n",
             "-M", LAB / "pkgs/rsyslog/usr/lib/x86_64-linux-gnu/rsyslog",
             "-f", self.folder / "rsyslog.conf", "-i", self.folder / "pid"],
            stdout=open(self.folder / "err", "ab"), stderr=subprocess.STDOUT)
        wait_until(self.socket.exists, "rsyslog's socket")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=15)
        self.socket.unlink(missing_ok=True)

    def lines(self, name):
        path = self.folder / f"{name}.log"
        return [line.split("\t", 5) for line in path.read_text().splitlines()] \
            if path.exists() else []

    def events(self, name):
        return [json.loads(line[5]) for line in self.lines(name)]


class Kafka:
    """librdkafka's mock cluster; tell("down") and tell("up")."""

    def __init__(self, build, folder, topic):
        self.log = folder / "kafka.log"
        self.process = subprocess.Popen([build / "tests/native/kafka_mock", topic],
                                        stdin=subprocess.PIPE, stdout=open(self.log, "wb"),
                                        stderr=subprocess.DEVNULL, text=True)
        wait_until(lambda: "\n" in self.log.read_text(), "the mock cluster")
        self.brokers = self.log.read_text().split("\n")[0]

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def messages(self):
        lines = self.log.read_text().splitlines(True)[1:]
        return [line.split("\t", 1) for line in lines if line.endswith("\n")]

    def events(self):
        return [json.loads(value) for _, value in self.messages()]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
