//! The accept loop: connections with time limits and a cap, and the drain at the end.
//!
//! In place of `axum::serve`, which has no header time-out. On the signal to stop the port is closed at once,
//! answers in progress go on for at most `drain_timeout`, and what still runs then is cut off.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::auth::Peer;
use super::router::router;
use super::state::AppState;

/// A request line and its headers.
const HEADER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "{address} is in use by another program: stop it, or choose another port with --port (0 takes a free one)"
    )]
    PortTaken { address: String },
    #[error("{address} may not be used by this user: choose a port from 1024 on with --port")]
    NotPermitted { address: String },
    #[error("{address} cannot be listened on: {source}")]
    Bind { address: String, source: io::Error },
}

/// # Errors
/// Each names the address and the way out.
pub async fn bind(host: &str, port: u16) -> Result<TcpListener, ServeError> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    TcpListener::bind((host, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortTaken { address },
        io::ErrorKind::PermissionDenied => ServeError::NotPermitted { address },
        _ => ServeError::Bind { address, source },
    })
}

/// Serve until `shutdown` ends, then drain. Returns when no connection is left and every engine has stopped.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: impl Future<Output = ()>) {
    let app = router(state.clone());
    let limits = &state.options().limits;
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // The semaphore is never closed, so this waits for a free place and nothing else.
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (app, stopping, timeout) = (app.clone(), stopping.clone(), limits.header_timeout);
                connections.spawn(async move {
                    let _permit = permit;
                    connection(stream, peer, app, stopping, timeout).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; others may close theirs.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    state.start_draining();
    // Receivers exist as long as their connections do; none left is as good as all told.
    let _ = stop.send(true);
    drain(connections, &state).await;
}

async fn drain(mut connections: JoinSet<()>, state: &AppState) {
    let timeout = state.options().drain_timeout;
    while connections.try_join_next().is_some() {}
    tracing::info!(connections = connections.len(), timeout_s = timeout.as_secs(), "draining");
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(timeout, all_done).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "the drain time is over: cutting off what still runs"
        );
        connections.shutdown().await;
    }
    for model in state.registry().list() {
        // With its callers gone an engine has nothing left to do; a stuck one must not keep the process.
        if tokio::time::timeout(Duration::from_secs(5), model.handle.drain()).await.is_err() {
            tracing::error!(model = model.name, "the engine did not stop in time");
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    mut stopping: watch::Receiver<bool>,
    header_timeout: Duration,
) {
    // Tokens are small writes: without this each waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no delay could not be set");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let answer = app.clone().oneshot(request);
        async move { answer.await.map_err(|never: Infallible| never) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients hang up and send garbage; it is theirs to know.
        tracing::debug!(%error, %peer, "connection");
    }
}

/// Ends on SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            },
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be caught; Ctrl-C still stops the server");
                let _ = interrupt.await;
            }
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_way_out() {
        let taken = bind("127.0.0.1", 0).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind("127.0.0.1", port).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("127.0.0.1:{port} is in use")) && error.contains("--port"),
            "{error}"
        );
    }
}
