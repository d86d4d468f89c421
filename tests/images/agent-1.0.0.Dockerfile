# The version to go back to. Both versions set the same things to different values, and each has one that
# the other lacks: recreating a container must not carry the old image's defaults into the new one.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY agent.sh /agent.sh
ENV AGENT_VERSION=1.0.0 AGENT_MODEL=small AGENT_LEGACY=yes
LABEL rollback-test=agent org.opencontainers.image.version=1.0.0 agent.legacy=yes
HEALTHCHECK --interval=1s --timeout=2s --retries=3 CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/health"]
CMD ["/bin/sh", "/agent.sh"]
