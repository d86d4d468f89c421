# The version that is rolled back. See agent-1.0.0.Dockerfile for what differs and why.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY agent.sh /agent.sh
ENV AGENT_VERSION=2.0.0 AGENT_MODEL=large AGENT_FEATURES=new
LABEL rollback-test=agent org.opencontainers.image.version=2.0.0 agent.features=new
HEALTHCHECK --interval=2s --timeout=3s --retries=5 CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/health"]
WORKDIR /www
CMD ["/bin/sh", "/agent.sh"]
