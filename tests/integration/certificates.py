"""Certificates for tests, made by openssl."""

import os
import subprocess

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


class Certificate:
    """PEM files, and the flags of cairnd and cairnctl that name them."""

    def __init__(self, certificate, key, ca):
        self.certificate, self.key, self.ca = certificate, key, ca

    def flags(self, **other):
        """`other`: a file in the place of certificate, key or ca."""
        names = {"certificate": "--tls-cert", "key": "--tls-key", "ca": "--tls-ca"}
        return [word for name, flag in names.items() for word in (flag, other.get(name, getattr(self, name)))]


class Authority:
    """A CA, and what it signs, in a directory."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.path = self.file(".pem")
        openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self.file(".key"), "-out",
                self.path)

    def file(self, end):
        return os.path.join(self.directory, self.name + end)

    def sign(self, name, alternatives="IP:127.0.0.1", days=2):
        """A certificate valid for `alternatives`; with days 0 it is over at once."""
        base = self.file(f"-{name}")
        openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", base + ".key", "-out", base + ".csr")
        with open(base + ".ext", "w", encoding="ascii") as extensions:
            extensions.write(f"subjectAltName={alternatives}\n")
        openssl("x509", "-req", "-days", str(days), "-in", base + ".csr", "-CA", self.path, "-CAkey", self.file(".key"),
                "-CAcreateserial", "-extfile", base + ".ext", "-out", base + ".pem")
        return Certificate(base + ".pem", base + ".key", self.path)
