//! `/v1/files`: uploads, streamed to disk, for trainings to learn from.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::evals::query::Pairs;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::jobs::file_path;
use crate::protocol::List;
use crate::protocol::files::{DeletedFile, FileObject, PURPOSES, UploadFile};
use crate::protocol::{BadRequest, ErrorResponse};
use crate::store::{FileRow, Order};

/// The routes of files with their descriptions.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_file, list_files))
        .routes(routes!(get_file, delete_file))
        .routes(routes!(get_file_content))
}

/// OpenAI's, of its list of files.
const LIST_LIMIT_MAX: usize = 10_000;
/// Beside the file itself: boundaries, headers and the purpose.
const OVERHEAD_BYTES_MAX: u64 = 64 << 10;
/// A file over the limit is read and thrown away up to here: a client that is still sending would otherwise see a broken
/// connection in place of the 413.
const DISCARD_BYTES_MAX: u64 = 256 << 20;

/// Upload a file.
#[utoipa::path(
    post,
    path = "/v1/files",
    tag = "files",
    request_body(content = UploadFile, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = FileObject),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 413, body = ErrorResponse)
    )
)]
pub async fn create_file(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<FileObject>, ApiError> {
    let limits = &state.options().limits;
    let bodies = state.evals()?.data.file_bytes_max / limits.body_bytes_max.max(1) as u64 + 1;
    let whole = limits.body_timeout.saturating_mul(u32::try_from(bodies).unwrap_or(u32::MAX));
    timeout(whole, upload(&state, request)).await.map_err(|_| ApiError::body_too_slow())?
}

async fn upload(state: &AppState, mut request: Request) -> Result<Json<FileObject>, ApiError> {
    let evals = state.evals()?;
    let limit = evals.data.file_bytes_max;
    let body_max = limit.saturating_add(DISCARD_BYTES_MAX + OVERHEAD_BYTES_MAX);
    DefaultBodyLimit::max(usize::try_from(body_max).unwrap_or(usize::MAX)).apply(&mut request);
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| not_multipart())?;
    let idle = state.options().limits.body_idle_timeout;
    let id = format!("file-{}", uuid::Uuid::new_v4().simple());
    let (mut purpose, mut file) = (None, None);
    loop {
        let next = timeout(idle, parts.next_field()).await.map_err(|_| ApiError::body_too_slow())?;
        let Some(mut field) = next.map_err(broken)? else { break };
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "purpose" if purpose.is_none() => purpose = Some(read_purpose(&mut field, idle).await?),
            "file" if file.is_none() => {
                let file_name = checked_name(field.file_name())?;
                let upload = Upload::begin(&evals.data.folder, &id).await?;
                file = Some((file_name, upload.receive(&mut field, limit, idle).await?));
            }
            "purpose" | "file" => {
                return Err(ApiError::invalid(name.clone(), format!("`{name}` is there twice")));
            }
            _ => return Err(BadRequest::unknown(name.clone(), &name, ["file", "purpose"]).into()),
        }
    }
    let (name, upload) = file.ok_or_else(|| BadRequest::missing("file"))?;
    let purpose = purpose.ok_or_else(|| BadRequest::missing("purpose"))?;
    let bytes = upload.keep().await?;
    let row = evals.store.create_file(&id, &name, &purpose, bytes).await?;
    tracing::info!(file = row.id, bytes, "a file was uploaded");
    Ok(Json(shown(row)))
}

fn not_multipart() -> ApiError {
    ApiError::invalid("file", "send a form of the type `multipart/form-data` with `file` and `purpose`")
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn broken(error: MultipartError) -> ApiError {
    tracing::debug!(%error, "an upload broke off");
    ApiError::body_broken()
}

async fn read_purpose(field: &mut Field<'_>, idle: Duration) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(piece) = next(field, idle).await? {
        text.extend_from_slice(&piece);
        if text.len() > 64 {
            break;
        }
    }
    let known = PURPOSES.iter().find(|purpose| purpose.as_bytes() == text);
    known.map(|purpose| (*purpose).to_owned()).ok_or_else(|| {
        ApiError::invalid("purpose", format!("`purpose` must be one of {}", PURPOSES.join(", ")))
    })
}

async fn next(field: &mut Field<'_>, idle: Duration) -> Result<Option<Bytes>, ApiError> {
    timeout(idle, field.chunk()).await.map_err(|_| ApiError::body_too_slow())?.map_err(broken)
}

/// A training sees the file under this name: it must be one, and not a path.
fn checked_name(name: Option<&str>) -> Result<String, ApiError> {
    let name = name.unwrap_or_default();
    let is_plain = !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    if is_plain {
        return Ok(name.to_owned());
    }
    Err(ApiError::invalid("file", "`file` needs the name of a file, without `/`, of at most 255 bytes"))
}

/// Bytes that are on their way to the disk; they go when nobody keeps them.
struct Upload {
    partial: PathBuf,
    path: PathBuf,
    file: File,
    bytes: u64,
    is_kept: bool,
}

impl Upload {
    async fn begin(data: &FilePath, id: &str) -> Result<Self, ApiError> {
        let path = file_path(data, id);
        let partial = path.with_extension("partial");
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| on_disk(&error))?;
        }
        let file = File::create(&partial).await.map_err(|error| on_disk(&error))?;
        Ok(Self { partial, path, file, bytes: 0, is_kept: false })
    }

    async fn receive(mut self, field: &mut Field<'_>, limit: u64, idle: Duration) -> Result<Self, ApiError> {
        while let Some(piece) = next(field, idle).await? {
            self.bytes += piece.len() as u64;
            if self.bytes <= limit {
                self.file.write_all(&piece).await.map_err(|error| on_disk(&error))?;
            }
        }
        if self.bytes > limit {
            return Err(ApiError::file_too_large(limit));
        }
        Ok(self)
    }

    async fn keep(mut self) -> Result<u64, ApiError> {
        self.file.flush().await.map_err(|error| on_disk(&error))?;
        self.file.sync_all().await.map_err(|error| on_disk(&error))?;
        tokio::fs::rename(&self.partial, &self.path).await.map_err(|error| on_disk(&error))?;
        self.is_kept = true;
        Ok(self.bytes)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_kept {
            // A leftover takes room and nothing else.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn on_disk(error: &std::io::Error) -> ApiError {
    tracing::error!(%error, "files cannot be read or written");
    match error.kind() {
        std::io::ErrorKind::StorageFull => ApiError::unavailable("the server's disk is full"),
        _ => ApiError::internal("the server could not read or write the file; its log says why"),
    }
}

/// Files by age, the newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/files",
    tag = "files",
    params(
        ("purpose" = Option<String>, Query, description = "Of this purpose alone"),
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 10,000, 20 by default; a page has at most 1,000"),
        ("order" = Option<String>, Query, description = "`desc` (the default) or `asc`")
    ),
    responses((status = 200, body = List<FileObject>), (status = 403, body = ErrorResponse))
)]
pub async fn list_files(
    State(state): State<AppState>,
    query: Pairs,
) -> Result<Json<List<FileObject>>, ApiError> {
    let query = query.only(&["purpose", "after", "limit", "order"])?;
    let page = query.page_up_to(Order::Descending, LIST_LIMIT_MAX)?;
    let page = state.evals()?.store.files(query.get("purpose"), &page).await?;
    let data: Vec<FileObject> = page.rows.into_iter().map(shown).collect();
    Ok(Json(List::of(data, page.has_more, |file| &file.id)))
}

#[utoipa::path(
    get,
    path = "/v1/files/{file_id}",
    tag = "files",
    params(("file_id" = String, Path)),
    responses((status = 200, body = FileObject), (status = 404, body = ErrorResponse))
)]
pub async fn get_file(
    State(state): State<AppState>,
    Path(file_id): Path<String>,
) -> Result<Json<FileObject>, ApiError> {
    Ok(Json(shown(state.evals()?.store.file(&file_id).await?)))
}

/// A file's bytes.
#[utoipa::path(
    get,
    path = "/v1/files/{file_id}/content",
    tag = "files",
    params(("file_id" = String, Path)),
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn get_file_content(
    State(state): State<AppState>,
    Path(file_id): Path<String>,
) -> Result<Response, ApiError> {
    let evals = state.evals()?;
    let row = evals.store.file(&file_id).await?;
    let file = File::open(file_path(&evals.data.folder, &row.id)).await.map_err(|error| on_disk(&error))?;
    let pieces = stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut piece = vec![0; 64 << 10];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Bytes::from(piece)), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = (StatusCode::OK, Body::from_stream(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.bytes));
    Ok(response)
}

/// Delete a file. Trainings that were made with it keep what they have of it.
#[utoipa::path(
    delete,
    path = "/v1/files/{file_id}",
    tag = "files",
    params(("file_id" = String, Path)),
    responses((status = 200, body = DeletedFile), (status = 404, body = ErrorResponse))
)]
pub async fn delete_file(
    State(state): State<AppState>,
    Path(file_id): Path<String>,
) -> Result<Json<DeletedFile>, ApiError> {
    let evals = state.evals()?;
    let row = evals.store.file(&file_id).await?;
    evals.store.delete_file(&row.id).await?;
    if let Err(error) = tokio::fs::remove_file(file_path(&evals.data.folder, &row.id)).await {
        tracing::error!(file = row.id, %error, "a deleted file's bytes could not be removed");
    }
    Ok(Json(DeletedFile { id: row.id, object: "file".to_owned(), deleted: true }))
}

fn shown(row: FileRow) -> FileObject {
    FileObject {
        id: row.id,
        object: "file".to_owned(),
        bytes: row.bytes.max(0) as u64,
        created_at: (row.created_ms / 1000).max(0) as u64,
        filename: row.name,
        purpose: row.purpose,
        status: "processed".to_owned(),
    }
}
