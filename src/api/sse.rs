//! A generation as server-sent events: chunks as they come, usage if asked for, then `[DONE]`.
//!
//! Headers are out by the time something can go wrong, so an error becomes an event with an error body. A comment
//! keeps idle connections open while a prompt waits. When the client goes, hyper drops the stream, and the
//! generation in it is cancelled.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;

use super::error::ApiError;
use super::generation::Generation;
use crate::engine::output::Output;
use crate::protocol::{StreamOptions, Usage};

/// Shapes outputs as one of the API's chunk types.
pub trait ChunkWriter: Send + 'static {
    type Chunk: Serialize + Send;

    /// The chunks of one output, possibly none.
    fn chunks(&mut self, prompt: usize, output: Output) -> Vec<Self::Chunk>;
    fn usage_chunk(&self, usage: Usage) -> Self::Chunk;
    fn set_usage(&self, chunk: &mut Self::Chunk, usage: Usage);

    /// What is said of the whole, before the usage.
    fn last_chunks(&mut self) -> impl Future<Output = Vec<Self::Chunk>> + Send {
        std::future::ready(Vec::new())
    }
}

pub fn respond<W: ChunkWriter>(generation: Generation, writer: W, options: StreamOptions) -> Response {
    let running = Running { generation, writer, options };
    let events = stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        match running.generation.next().await {
            Some(Ok((prompt, output))) => Some((running.write(prompt, output), Some(running))),
            Some(Err(error)) => Some((vec![error_event(error), done()], None)),
            None => Some((running.end().await, None)),
        }
    });
    // A panic would break the connection without a word; unwinding ends the stream, so no state is seen again.
    let events = AssertUnwindSafe(events).catch_unwind().map(|events| {
        events.unwrap_or_else(|_| {
            vec![error_event(ApiError::internal("the server failed on this request")), done()]
        })
    });
    let events = events.flat_map(|events| stream::iter(events.into_iter().map(Ok::<_, Infallible>)));
    keep_alive(events)
}

pub fn keep_alive(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::default().text("keep-alive")).into_response()
}

struct Running<W> {
    generation: Generation,
    writer: W,
    options: StreamOptions,
}

impl<W: ChunkWriter> Running<W> {
    fn write(&mut self, prompt: usize, output: Output) -> Vec<Event> {
        let mut chunks = self.writer.chunks(prompt, output);
        if self.options.continuous_usage_stats == Some(true) {
            let usage = self.generation.usage();
            for chunk in &mut chunks {
                self.writer.set_usage(chunk, usage.clone());
            }
        }
        chunks.iter().map(event).collect()
    }

    async fn end(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self.writer.last_chunks().await.iter().map(event).collect();
        if self.options.include_usage == Some(true) {
            events.push(event(&self.writer.usage_chunk(self.generation.usage())));
        }
        events.push(done());
        events
    }
}

fn event(chunk: &impl Serialize) -> Event {
    match serde_json::to_string(chunk) {
        Ok(json) => Event::default().data(json),
        Err(error) => error_event(ApiError::internal(format!("a chunk could not be written: {error}"))),
    }
}

pub fn error_event(error: ApiError) -> Event {
    tracing::warn!(message = error.body.message, "error in the middle of a stream");
    // Strings and nulls only: this cannot fail, and an empty object would still end the stream as an error.
    let json =
        serde_json::to_string(&error.into_event_body()).unwrap_or_else(|_| "{\"error\":{}}".to_owned());
    Event::default().data(json)
}

pub fn done() -> Event {
    Event::default().data("[DONE]")
}
