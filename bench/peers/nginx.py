"""nginx as a plain reverse proxy: the least that any gateway costs. No keys, usage or records.

One worker, kept-alive connections to both servers, whole answers through its buffers and streams
as they come, no log: as fast as its configuration makes it.
"""

import contextlib
import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers import Running, Unusable, free_port, started

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    keepalive_requests 100000000;
    tcp_nodelay on;
    upstream engines {{
        {servers}
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://engines;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class Nginx:
    """The system's nginx with a configuration and folders of its own."""

    suffix = "nginx"

    def __init__(self) -> None:
        self.name = "nginx"
        self._program = ""

    def prepare(self) -> None:
        """Find it."""
        found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if found is None:
            raise Unusable("it is not installed (Debian: apt-get install nginx-light)")
        said = subprocess.run([found, "-v"], capture_output=True, text=True, check=True)
        self.name = f"nginx {said.stderr.strip().rpartition('/')[2]}"
        self._program = found

    @contextlib.contextmanager
    def run(self, folder: Path, upstreams: list[str], model: str) -> Iterator[Running]:
        """See the protocol."""
        own = folder / "nginx"
        own.mkdir()
        port = free_port()
        servers = "\n        ".join(f"server {urlsplit(url).netloc};" for url in upstreams)
        configuration = own / "nginx.conf"
        # As root its worker would become another user, who may not write to our folders.
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        text = _CONFIGURATION.format(folder=own, servers=servers, port=port, user=user)
        configuration.write_text(text)
        command = [self._program, "-p", str(own), "-c", str(configuration)]
        with started(command, port, own / "start.log") as pid:
            yield Running(f"http://127.0.0.1:{port}", "none", pid)
