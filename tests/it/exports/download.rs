//! Downloads: the file of a job, for whom it belongs to, while its time lasts; everybody else is told that there is none.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, HttpResponse, rt, web};
use chrono::{TimeDelta, Utc};
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::exports::{self, ExportState};
use threadline::{Actor, ExportFormat};
use threadline_actix::{AuditedPool, Error, export_download, export_download_by_token};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run, texts};
use threadline_worker::{DownloadKey, ObjectName, Storage, StorageError};
use uuid::Uuid;

use super::{Directory, alice, eager, everything, finished, notes};

fn key() -> DownloadKey {
    DownloadKey::new(&[7; 32]).unwrap()
}

/// What a host's routes answer: status, headers, body.
fn answers(
    db: &TestDatabase,
    storage: &Storage,
    paths: &[String],
) -> Vec<(StatusCode, Vec<String>, Vec<u8>)> {
    async fn owned(
        pool: web::Data<AuditedPool>,
        storage: web::Data<Storage>,
        path: web::Path<(i64, Uuid)>,
    ) -> Result<HttpResponse, Error> {
        export_download(&pool, &storage, path.1, &Actor::user(path.0)).await
    }
    async fn linked(
        pool: web::Data<AuditedPool>,
        storage: web::Data<Storage>,
        token: web::Path<String>,
    ) -> Result<HttpResponse, Error> {
        export_download_by_token(&pool, &storage, &key(), &token).await
    }
    let pool = AuditedPool::new(Pool::builder().max_size(2).build(ConnectionManager::new(db.url())).unwrap());
    rt::System::new().block_on(async {
        let app = init_service(
            App::new()
                .app_data(web::Data::new(pool))
                .app_data(web::Data::new(storage.clone()))
                .route("/user/{user}/{job}", web::get().to(owned))
                .route("/link/{token}", web::get().to(linked)),
        )
        .await;
        let mut answers = Vec::new();
        for path in paths {
            let response = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            let mut headers: Vec<String> = response
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            headers.sort();
            answers.push((response.status(), headers, read_body(response).await.to_vec()));
        }
        answers
    })
}

fn answer(db: &TestDatabase, storage: &Storage, path: &str) -> (u16, String) {
    let (status, headers, body) = answers(db, storage, &[path.to_owned()]).remove(0);
    for header in ["cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(headers.iter().any(|has| has == header), "{path}: {headers:?}");
    }
    (status.as_u16(), String::from_utf8(body).unwrap())
}

const ABSENT: &str = "there is no such export";

#[test]
fn a_file_is_its_owners_for_its_time_and_nobody_elses() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 2000, 200);
    let directory = Directory::new();
    let storage = directory.storage();
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    let own = format!("/user/1/{id}");
    assert_eq!(answer(&db, &storage, &own), (409, "the export is not ready yet".to_owned()));
    let other = answer(&db, &storage, &format!("/user/2/{id}"));
    assert_eq!(other, (404, ABSENT.to_owned()), "not even that there is one");
    assert_eq!(other, answer(&db, &storage, &format!("/user/1/{}", Uuid::new_v4())));

    let worker =
        eager(&db, storage.clone()).expiry_every(Duration::from_secs(600)).build().unwrap().spawn().unwrap();
    let made = finished(conn, id);
    worker.stop();
    let (status, headers, body) = answers(&db, &storage, std::slice::from_ref(&own)).remove(0);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        headers,
        [
            "cache-control: no-store".to_owned(),
            format!("content-disposition: attachment; filename=\"{}\"", made.file_name()),
            "content-type: text/csv; charset=utf-8; header=present".to_owned(),
            "x-content-type-options: nosniff".to_owned(),
        ]
    );
    super::assert_whole(&made, &body);
    assert_eq!(answer(&db, &storage, &format!("/user/2/{id}")), (404, ABSENT.to_owned()));
    let delivered = "SELECT concat_ws(' ', detail ->> 'event', actor_id, entry_point) FROM threadline.evidence_records ORDER BY id";
    let deliveries =
        ["completed 1 threadline::exports::complete", "handed_out 1 threadline_actix::export_download"];
    assert_eq!(texts(conn, delivered), deliveries, "and nobody else's request is one");

    // Another file in its place, a link to one, none at all.
    let path = directory.path().join(made.object_name.as_deref().unwrap());
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let file = std::fs::read(&path).unwrap();
    std::fs::write(&path, &file[1..]).unwrap();
    assert_eq!(answer(&db, &storage, &own), (404, ABSENT.to_owned()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(answer(&db, &storage, &own), (404, ABSENT.to_owned()));
    let elsewhere = directory.path().join("elsewhere");
    std::fs::write(&elsewhere, &file).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(answer(&db, &storage, &own), (404, ABSENT.to_owned()));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &file).unwrap();
    assert_eq!(texts(conn, delivered).len(), 2, "what is missing was not delivered");
    assert_eq!(answer(&db, &storage, &own).0, 200);
    assert_eq!(texts(conn, delivered).len(), 3);

    run(conn, "UPDATE threadline.export_jobs SET expires_at = now()");
    assert_eq!(exports::find(conn, id).unwrap().unwrap().state, ExportState::Completed, "not swept yet");
    assert_eq!(answer(&db, &storage, &own), (410, "the export has expired".to_owned()));
    assert_eq!(answer(&db, &storage, &format!("/user/2/{id}")), (404, ABSENT.to_owned()));
}

#[test]
fn a_link_opens_one_job_for_its_time() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 5, 5);
    let directory = Directory::new();
    let storage = directory.storage();
    let ids: Vec<Uuid> = (1..=2)
        .map(|user| exports::enqueue(conn, &everything(ExportFormat::Ndjson), &Actor::user(user)).unwrap().id)
        .collect();
    let worker = eager(&db, storage.clone()).build().unwrap().spawn().unwrap();
    ids.iter().for_each(|id| assert_eq!(finished(conn, *id).state, ExportState::Completed));
    worker.stop();
    let soon = Utc::now() + TimeDelta::minutes(1);
    let token = key().token(ids[0], soon);
    assert_eq!(answer(&db, &storage, &format!("/link/{token}")).0, 200);
    let of_other_key = DownloadKey::new(&[8; 32]).unwrap().token(ids[0], soon);
    let for_other_job = token.replace(&ids[0].simple().to_string(), &ids[1].simple().to_string());
    for forged in [of_other_key, for_other_job, ids[0].to_string(), "x".to_owned()] {
        assert_eq!(answer(&db, &storage, &format!("/link/{forged}")), (404, ABSENT.to_owned()), "{forged}");
    }
    let late = key().token(ids[0], Utc::now() - TimeDelta::seconds(1));
    assert_eq!(answer(&db, &storage, &format!("/link/{late}")), (410, "the export has expired".to_owned()));
    // A link outlives neither the file nor the job.
    run(conn, "UPDATE threadline.export_jobs SET expires_at = now()");
    assert_eq!(answer(&db, &storage, &format!("/link/{token}")).0, 410);
    run(conn, "DELETE FROM threadline.export_jobs");
    assert_eq!(answer(&db, &storage, &format!("/link/{token}")).0, 404);
}

#[test]
fn no_more_is_read_of_a_file_than_was_written() {
    let directory = Directory::new();
    let storage = directory.storage();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let name: ObjectName = "exports/a.1.csv".parse().unwrap();
    let mut upload = threadline_worker::Upload::begin(&runtime, &storage, &name).unwrap();
    std::io::Write::write_all(&mut upload, b"written").unwrap();
    upload.finish().unwrap();
    assert_eq!(runtime.block_on(storage.open_of(&name, 7)).unwrap().bytes, 7);
    let path = directory.path().join("exports/a.1.csv");
    for length in [6 << 30, 6] {
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let error = runtime.block_on(storage.open_of(&name, 7)).unwrap_err();
        let said = format!("the storage's file `exports/a.1.csv` has {length} bytes, and 7 were written");
        assert_eq!(error.to_string(), said);
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(runtime.block_on(storage.open_of(&name, 7)), Err(StorageError::IsDirectory)));
}

#[test]
fn a_storage_stays_within_its_directory_and_says_nothing_of_credentials() {
    let directory = Directory::new();
    let storage = directory.storage();
    assert_eq!(directory.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let outside = directory.path().with_extension("outside");
    std::fs::write(&outside, "kept").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A directory below that leads out.
    std::fs::create_dir(outside.with_extension("dir")).unwrap();
    symlink(outside.with_extension("dir"), directory.path().join("exports")).unwrap();
    let name: ObjectName = "exports/a.1.csv".parse().unwrap();
    let begun = threadline_worker::Upload::begin(&runtime, &storage, &name);
    assert!(matches!(begun.map(drop), Err(StorageError::NotRegular)));
    std::fs::remove_file(directory.path().join("exports")).unwrap();
    // A link in a file's place is removed, and not what it leads to.
    std::fs::create_dir(directory.path().join("exports")).unwrap();
    symlink(&outside, directory.path().join("exports/a.1.csv")).unwrap();
    assert!(matches!(runtime.block_on(storage.open(&name)), Err(StorageError::NotRegular)));
    runtime.block_on(storage.delete(&name)).unwrap();
    runtime.block_on(storage.delete(&name)).unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept");
    // What is written is content, also when it is the name of a file.
    let mut upload = threadline_worker::Upload::begin(&runtime, &storage, &name).unwrap();
    std::io::Write::write_all(&mut upload, outside.to_str().unwrap().as_bytes()).unwrap();
    upload.finish().unwrap();
    assert_eq!(directory.files(), [("a.1.csv".to_owned(), outside.to_str().unwrap().as_bytes().to_vec())]);
    std::fs::remove_file(&outside).unwrap();
    std::fs::remove_dir(outside.with_extension("dir")).unwrap();

    for url in [
        "",
        "/var/lib",
        "file://host/dir",
        "file:///",
        "http://bucket",
        "s3://key:very-secret@bucket/x",
        "s3://bucket?secret=very-secret",
        "file:///tmp/x#very-secret",
    ] {
        let error = Storage::from_url(url).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.starts_with("the storage's url ") && !said.contains("very-secret"), "{url}: {said}");
    }
}
