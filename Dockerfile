# The service: `docker build -t llmthrift .`, then `docker compose up` (compose.yaml). docs/deployment.md has the steps.
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
# The versions of constraints.txt are those that the tests ran with. uvloop and httptools make HTTP itself cheaper.
RUN python -m venv /opt/llmthrift \
    && /opt/llmthrift/bin/pip install --no-cache-dir --constraint constraints.txt \
       '.[service,postgres,valkey,alerts,routing]' langchain-openai langchain-anthropic uvloop httptools

FROM python:3.12-slim
COPY --from=build /opt/llmthrift /opt/llmthrift
RUN useradd --system --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin llmthrift
USER 10001
WORKDIR /data
VOLUME /data
ENV PATH=/opt/llmthrift/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8484
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8484/health/ready', timeout=2)"]
ENTRYPOINT ["llmthrift"]
CMD ["serve", "--config", "/etc/llmthrift/llmthrift.toml", "--host", "0.0.0.0", "--workers", "2"]
