# Ignores SIGTERM: only the kill at the end of the stop timeout ends it.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
LABEL rollback-test=stubborn
CMD ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 3600; done"]
