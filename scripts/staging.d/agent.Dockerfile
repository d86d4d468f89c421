# An agent of the drill: no registry is needed, and it leaves at once on SIGTERM.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY agent.sh /agent.sh
ARG VERSION
ENV AGENT_VERSION=${VERSION}
LABEL org.opencontainers.image.version=${VERSION}
CMD ["/bin/sh", "/agent.sh"]
