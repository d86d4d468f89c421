//! How far a request has come: the difference between "nothing was sent" and "it may have happened".
//!
//! A layer around the connector marks the beginning and the end of connecting (name look-up, TCP, proxy, TLS) for the
//! request that waits for it. The connector is polled in that request's own task, hence the task-local. `docker` and `notify` use it, too.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

tokio::task_local! {
    static PROGRESS: Arc<AtomicU8>;
}

const CONNECTING: u8 = 1;
const CONNECTED: u8 = 2;

/// The progress of one request.
#[derive(Clone, Default)]
pub(in crate::adapters) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// Runs a request whose connecting is noted here.
    pub(in crate::adapters) async fn track<F: Future>(&self, request: F) -> F::Output {
        PROGRESS.scope(self.0.clone(), request).await
    }

    /// Nothing can have left yet, whatever a protocol other than HTTP has exchanged with its server.
    pub(in crate::adapters) fn hold(&self) {
        self.0.store(CONNECTING, Ordering::SeqCst);
    }

    /// From now on it may have left.
    pub(in crate::adapters) fn release(&self) {
        self.0.store(CONNECTED, Ordering::SeqCst);
    }

    /// Whether the request can have left. A request on a pooled connection never connects and counts as sent.
    pub(in crate::adapters) fn may_be_sent(&self) -> bool {
        self.0.load(Ordering::SeqCst) != CONNECTING
    }
}

fn mark(stage: u8) {
    // Outside a tracked request there is nobody to tell.
    let _untracked = PROGRESS.try_with(|progress| progress.store(stage, Ordering::SeqCst));
}

/// Wraps the connector of a client.
#[derive(Clone)]
pub(in crate::adapters) struct NoteConnecting;

impl<S> Layer<S> for NoteConnecting {
    type Service = NotingConnector<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NotingConnector { inner }
    }
}

/// A connector that marks when it begins and when it has a connection.
#[derive(Clone)]
pub(in crate::adapters) struct NotingConnector<S> {
    inner: S,
}

impl<S, R> Service<R> for NotingConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        mark(CONNECTING);
        let connecting = self.inner.call(target);
        Box::pin(async move {
            let connection = connecting.await;
            if connection.is_ok() {
                mark(CONNECTED);
            }
            connection
        })
    }
}
