//! Handing out the files of queued exports.

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, web};
use chrono::Utc;
use diesel::PgConnection;
use threadline::exports::{self, Download};
use threadline::telemetry;
use threadline::{Actor, AuditedPool};
use threadline_worker::{DownloadKey, InvalidToken, ObjectName, Storage, StorageError};
use uuid::Uuid;

use crate::error::Error;

/// Answers with the file of a job, for its owner: a download under a name of our making that no cache keeps and no browser
/// takes for something else.
///
/// 404 when there is no such job, when it is somebody else's, and when its file is missing, which all look the same; 410 when its
/// time is over, 409 when it is not made yet. The texts say no more than that.
///
/// That the file is handed out is recorded as [evidence](threadline::evidence) before its first byte leaves, where the pool's
/// role may record it and its connections can write.
///
/// ```no_run
/// use actix_web::{HttpResponse, get, web};
/// use threadline_actix::{Audit, AuditedPool, Error, export_download};
/// use threadline_worker::Storage;
/// use uuid::Uuid;
///
/// #[get("/exports/{job}")]
/// async fn download(
///     audit: Audit,
///     pool: web::Data<AuditedPool>,
///     storage: web::Data<Storage>,
///     job: web::Path<Uuid>,
/// ) -> Result<HttpResponse, Error> {
///     match audit.context().actor() {
///         Some(requester) => export_download(&pool, &storage, *job, requester).await,
///         None => Ok(HttpResponse::Unauthorized().finish()),
///     }
/// }
/// ```
///
/// # Errors
///
/// What the database is the cause of.
pub async fn export_download(
    pool: &AuditedPool,
    storage: &Storage,
    job: Uuid,
    requester: &Actor,
) -> Result<HttpResponse, Error> {
    let requester = requester.clone();
    observed(async {
        let owner = requester.clone();
        let download = read(pool, move |conn| exports::download(conn, job, &owner)).await?;
        answer(pool, storage, download, Some(requester), "threadline_actix::export_download").await
    })
    .await
}

/// As [`export_download`], for whoever has a link that was signed for the job. One that is not ours gets 404, one whose time is
/// over 410.
///
/// # Errors
///
/// What the database is the cause of.
pub async fn export_download_by_token(
    pool: &AuditedPool,
    storage: &Storage,
    key: &DownloadKey,
    token: &str,
) -> Result<HttpResponse, Error> {
    observed(async {
        let job = match key.job_of(token, Utc::now()) {
            Ok(job) => job,
            Err(InvalidToken::Forged) => return Ok(("forged", refusal(StatusCode::NOT_FOUND))),
            Err(InvalidToken::Expired) => return Ok(("link_expired", refusal(StatusCode::GONE))),
        };
        let download = read(pool, move |conn| exports::download_granted(conn, job)).await?;
        answer(pool, storage, download, None, "threadline_actix::export_download_by_token").await
    })
    .await
}

/// Tells telemetry what came of it.
async fn observed(
    download: impl Future<Output = Result<(&'static str, HttpResponse), Error>>,
) -> Result<HttpResponse, Error> {
    let answer = download.await;
    let outcome = answer.as_ref().map_or("failed", |(outcome, _)| *outcome);
    telemetry::DOWNLOADS.add(1, [outcome]);
    answer.map(|(_, response)| response)
}

async fn read(
    pool: &AuditedPool,
    look: impl FnOnce(&mut PgConnection) -> Result<Download, threadline::Error> + Send + 'static,
) -> Result<Download, Error> {
    let pool = pool.clone();
    let found = web::block(move || pool.read(look)).await.map_err(|_| Error::Panicked)?;
    Ok(found?)
}

async fn answer(
    pool: &AuditedPool,
    storage: &Storage,
    download: Download,
    to: Option<Actor>,
    entry_point: &'static str,
) -> Result<(&'static str, HttpResponse), Error> {
    let ready = match download {
        Download::Ready(ready) => ready,
        Download::NotFound => return Ok(("not_found", refusal(StatusCode::NOT_FOUND))),
        Download::Gone => return Ok(("gone", refusal(StatusCode::GONE))),
        Download::NotReady => return Ok(("not_ready", refusal(StatusCode::CONFLICT))),
    };
    let stored = match ready.object_name.parse::<ObjectName>() {
        Ok(name) => storage.open_of(&name, ready.summary.bytes).await,
        Err(_) => Err(StorageError::NotFound),
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(error @ StorageError::OtherLength { .. }) => {
            tracing::error!(
                "threadline: the file of a completed export is not the one that was written: {error}"
            );
            return Ok(("file_missing", refusal(StatusCode::NOT_FOUND)));
        }
        Err(
            StorageError::NotFound
            | StorageError::NotWhole
            | StorageError::NotRegular
            | StorageError::IsDirectory,
        ) => {
            tracing::error!(
                "threadline: the file of a completed export is missing, or not the one that was written"
            );
            return Ok(("file_missing", refusal(StatusCode::NOT_FOUND)));
        }
        Err(_) => {
            tracing::error!("threadline: the storage of exports failed");
            return Ok(("storage_failed", refusal(StatusCode::SERVICE_UNAVAILABLE)));
        }
    };
    // Before its first byte: no file leaves without the record that it did.
    let (pool, delivered) = (pool.clone(), ready.clone());
    web::block(move || pool.record_delivery(&delivered, to.as_ref(), entry_point))
        .await
        .map_err(|_| Error::Panicked)??;
    let response = HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, ready.format.media_type()))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", ready.file_name)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(SizedStream::new(stored.bytes, stored.pieces));
    Ok(("ok", response))
}

fn refusal(status: StatusCode) -> HttpResponse {
    let text = match status {
        StatusCode::GONE => "the export has expired",
        StatusCode::CONFLICT => "the export is not ready yet",
        StatusCode::SERVICE_UNAVAILABLE => "the export cannot be read at present",
        _ => "there is no such export",
    };
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(text)
}
