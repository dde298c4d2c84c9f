//! The accept loop: connections with time limits and a cap, and the drain at the end.
//!
//! In place of `axum::serve`, which has no time-outs for headers and for peers that do not read. On the signal to stop the port is closed at once,
//! answers in progress go on for at most `drain_timeout`, and what still runs then is cut off.

use std::convert::Infallible;
use std::future::Future;
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
use super::evals::Evals;
use super::keys;
use super::line_service::Routes;
use super::router::router;
use super::state::{ApiOptions, AppState, StartError};
use super::write_timeout::WriteTimeout;
use crate::registry::Registry;

/// A request line and its headers.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Serve until `shutdown` ends, then drain. Returns when no connection is left and every engine has stopped.
///
/// # Errors
/// Options that do not work, before anything is accepted.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    options: ApiOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let state = AppState::new(registry, options)?;
    let app = router(state.clone());
    let evals = state.shared_evals().ok();
    let start = |evals: &Arc<Evals>| evals.start(state.registry(), Arc::new(Routes::new(state.clone())));
    let workers = evals.as_ref().map(start).unwrap_or_default();
    let unloading = tokio::spawn(unload_idle(state.clone()));
    let watched = state.clone();
    let watching = tokio::spawn(async move { keys::watch(watched.keys()).await });
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
                let (app, stopping) = (app.clone(), stopping.clone());
                let timeouts = Timeouts { header: limits.header_timeout, write: limits.write_timeout };
                connections.spawn(async move {
                    let _permit = permit;
                    connection(stream, peer, app, stopping, timeouts).await;
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
    unloading.abort();
    watching.abort();
    // Receivers exist as long as their connections do; none left is as good as all told.
    let _ = stop.send(true);
    if let Some(evals) = evals {
        // Before the engines stop: work in progress goes back whole, and event streams do not hold up the drain.
        evals.stop(workers).await;
    }
    drain(connections, &state).await;
    Ok(())
}

/// Models on demand that nobody asks for leave, once their time is over.
async fn unload_idle(state: AppState) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for model in state.registry().remove_idle() {
            state.metrics().forget(&model);
            if model.adapter.is_some() {
                continue;
            }
            tracing::info!(model = model.name, "unloaded: nobody asked for it");
            // A request that came in between is answered.
            if !model.handle.drain_within(state.options().drain_timeout).await {
                tracing::error!(model = model.name, "the engine did not stop in time");
            }
        }
    }
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

/// Of a connection: for a request's headers, and for a client to take some of an answer.
#[derive(Clone, Copy)]
struct Timeouts {
    header: Duration,
    write: Duration,
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    mut stopping: watch::Receiver<bool>,
    timeouts: Timeouts,
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
        .header_read_timeout(timeouts.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, timeouts.write)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender says it once, or is gone; the guard it returns must not live across an await.
        () = async { drop(stopping.wait_for(|stop| *stop).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients hang up and send garbage; it is theirs to know.
        tracing::debug!(%error, %peer, "connection");
    }
}
