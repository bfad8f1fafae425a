"""The configuration of each proxy: the same job, and each as its people would set it up for speed.

TLS 1.3 with one suite and one group, limits that are counted and never reached, a log line for each
request, connections to the upstream that stay.
"""

HS256_SECRET = "thirty-two-bytes-or-more-of-secret"

GATEWAY = """\
[gateway]
public_url = "https://localhost"
threads = {threads}
trusted_proxies = {trusted}
[[listeners]]
address = "127.0.0.1:0"
[[certificates]]
cert = "{certs}/localhost.pem"
key = "{certs}/localhost.key"
[store]
url = "sqlite:portcullis.db"
[tokens]
access_ttl = "2h"
[accounts]
registration = "open"
[limits]
per_address = "{per_address}"
per_user = "60000000 per minute"
login = "off"
[identity]
assertion = "{assertion}"
[log]
format = "json"
[upstreams.bench]
targets = ["http://{upstream}"]
connections = 1024
[routes.bench]
path = "/"
upstream = "bench"
"""


def gateway(ground, assertion="session", threads=1, routes=1, per_address="60000000 per minute", trusted="[]"):
    text = GATEWAY.format(
        upstream=ground.upstream.address, certs=ground.certs, assertion=assertion,
        threads=threads, per_address=per_address, trusted=trusted,
    )
    more = (f'[routes.r{n}]\npath = "/r{n}"\nupstream = "bench"\n' for n in range(1, routes))
    return text + "".join(more)


# stick-table and track-sc once by address, once by `sub`: the two limits of the gateway.
HAPROXY = """\
global
    nbthread {threads}
    maxconn 8000
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-curves X25519
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    http-reuse always
backend addresses
    stick-table type ip size 1m expire 1m store http_req_rate(1m)
backend users
    stick-table type string len 64 size 1m expire 1m store http_req_rate(1m)
frontend bench
    bind 127.0.0.1:{port} ssl crt {home}/tls.pem alpn h2,http/1.1
    http-request track-sc0 src table addresses
    http-request deny deny_status 429 if {{ sc_http_req_rate(0,addresses) gt 60000000 }}
    http-request set-var(txn.bearer) http_auth_bearer
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_header_query('$.alg') -m str {algorithm} }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify("{algorithm}","{key}") 1 }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str https://localhost }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str https://localhost }}
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 if {{ var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now) -m int lt 0 }}
    http-request set-var(txn.sub) var(txn.bearer),jwt_payload_query('$.sub')
    http-request track-sc1 var(txn.sub) table users
    http-request deny deny_status 429 if {{ sc_http_req_rate(1,users) gt 60000000 }}
    http-request del-header x-auth- -m beg
    http-request del-header authorization
    http-request set-header x-auth-user %[var(txn.sub)]
    default_backend app
backend app
    server app {upstream}
"""


def haproxy(ground, home, port, algorithm, threads):
    key = f"{home}/key.pem" if algorithm == "ES256" else HS256_SECRET
    return HAPROXY.format(
        upstream=ground.upstream.address, home=home, port=port,
        algorithm=algorithm, key=key, threads=threads,
    )


NGINX = """\
daemon off;
user root;
worker_processes {threads};
pid {home}/nginx.pid;
worker_rlimit_nofile 16000;
events {{
    worker_connections 8000;
    multi_accept on;
}}
http {{
    access_log {home}/access.log combined buffer=64k flush=1s;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    limit_req_zone $binary_remote_addr zone=addresses:16m rate=1000000r/s;
    keepalive_requests 100000000;
    tcp_nodelay on;
    upstream app {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {certs}/localhost.pem;
        ssl_certificate_key {certs}/localhost.key;
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
        ssl_ecdh_curve X25519;
        location / {{
            limit_req zone=addresses burst=1000000 nodelay;
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Auth-User "";
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


def nginx(ground, home, port, threads):
    return NGINX.format(
        upstream=ground.upstream.address, certs=ground.certs, home=home, port=port, threads=threads
    )
