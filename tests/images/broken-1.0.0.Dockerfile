# Starts and exits at once: a version that cannot be rolled back to.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
LABEL rollback-test=broken
CMD ["/bin/sh", "-c", "echo 'cannot load the model' >&2; exit 3"]
