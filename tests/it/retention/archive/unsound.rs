//! What was put in the place of an object: told from what was written, and read no further than that.

use std::fs;
use std::io::{self, Read};
use std::time::Duration;

use diesel::PgConnection;
use flate2::Compression;
use flate2::read::GzEncoder;
use threadline::Error;
use threadline::retention::{self, Archive, ArchivedContent, ArchivedKind, ArchivedObject, LocalArchive};
use threadline_tests::{audited_database, run, text};

use super::super::{count, policy, split_time, wait_for_end};
use super::{Directory, everything, fill, hold, retain_to};

#[test]
fn an_archive_that_was_altered_is_not_attached() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("altered");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace";
    let before = text(conn, relations);
    let object = dir.month("2001_02").join("audit_changes.ndjson.gz");
    let whole = fs::read(&object).unwrap();
    let mut reader = flate2::read::GzDecoder::new(whole.as_slice());
    let mut lines = String::new();
    reader.read_to_string(&mut lines).unwrap();
    let altered = [
        lines.replacen("line", "lime", 1),
        lines.lines().skip(1).map(|line| format!("{line}\n")).collect(),
        format!("{lines}{lines}"),
        "nonsense\n".to_owned(),
        String::new(),
    ];
    for lines in altered {
        let mut content = flate2::read::GzEncoder::new(lines.as_bytes(), flate2::Compression::fast());
        let mut file = Vec::new();
        content.read_to_end(&mut file).unwrap();
        fs::write(&object, file).unwrap();
        for archive in [&mut dir.archive() as &mut dyn Archive, &mut Silent(dir.archive())] {
            let refused = retention::restore_archive(conn, archive, "2001_02");
            let Err(Error::ArchiveUnsound { object, problem }) = &refused else { panic!("{refused:?}") };
            assert!(
                object.ends_with("/audit_changes.ndjson.gz")
                    && [" written", "tables do not take"].iter().any(|said| problem.contains(said)),
                "{problem}"
            );
            let said = format!("{refused:?} {}", refused.as_ref().unwrap_err());
            assert!(!said.contains("lime") && !said.contains("quote"), "{said}");
            assert_eq!(text(conn, relations), before);
        }
    }
    fs::write(&object, &whole[..whole.len() / 2]).unwrap();
    assert!(retention::restore_archive(conn, &mut dir.archive(), "2001_02").is_err());
    for month in ["../x", "", "2001_02/..", "2001_99"] {
        assert!(retention::restore_archive(conn, &mut dir.archive(), month).is_err(), "{month}");
    }
    assert_eq!(text(conn, relations), before);
    fs::write(&object, whole).unwrap();
    retention::restore_archive(conn, &mut dir.archive(), "2001_02").unwrap();
}

#[test]
fn a_manifest_that_agrees_only_with_itself_is_not_believed() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("manifest");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let verified = |conn: &mut PgConnection| {
        let month = retention::archives(conn).unwrap().remove(1);
        retention::verify_archive(&mut dir.archive(), &month)
    };
    verified(conn).unwrap();
    let length =
        usize::try_from(dir.month("2001_02").join("manifest.json").metadata().unwrap().len()).unwrap();
    // Another month's rows under this one's name, with a manifest that fits them.
    for entry in fs::read_dir(dir.month("2001_01")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.month("2001_02").join(entry.file_name())).unwrap();
    }
    let manifest = dir.month("2001_02").join("manifest.json");
    let forged = fs::read_to_string(&manifest).unwrap().replace("2001_01", "2001_02");
    // As long as the other: it is told by its digest.
    let forged = format!("{forged:<length$}");
    fs::write(&manifest, forged).unwrap();
    for refused in [verified(conn), retention::restore_archive(conn, &mut dir.archive(), "2001_02").map(drop)]
    {
        assert!(
            matches!(&refused, Err(Error::ArchiveUnsound { problem, .. }) if problem.contains("remembers")),
            "{refused:?}"
        );
    }
    assert_eq!(count(conn, "audit_changes"), 0);
    fs::remove_file(manifest).unwrap();
    assert!(matches!(verified(conn), Err(Error::Archive { .. })));
}

/// One that cannot tell how long an object is.
struct Silent(LocalArchive);

impl Archive for Silent {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.0.store(name, content)
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        self.0.open(name)
    }
}

/// The same bytes again and again, for ever.
struct Repeat {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *buffer {
            *byte = self.bytes[self.at % self.bytes.len()];
            self.at += 1;
        }
        Ok(buffer.len())
    }
}

fn raw(bytes: impl Into<Vec<u8>>) -> Box<dyn Read> {
    Box::new(Repeat { bytes: bytes.into(), at: 0 })
}

fn gzip(bytes: impl Into<Vec<u8>>) -> Box<dyn Read> {
    Box::new(GzEncoder::new(raw(bytes), Compression::fast()))
}

/// Has something else in the place of one object, and counts what is read of it.
struct Replaced {
    inner: LocalArchive,
    object: String,
    bytes: Option<u64>,
    content: fn(&str) -> Box<dyn Read>,
    line: String,
    read: u64,
}

struct Metered<'a>(Box<dyn Read>, &'a mut u64);

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        *self.1 += count as u64;
        Ok(count)
    }
}

impl Archive for Replaced {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.inner.store(name, content)
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        if name == self.object {
            return Ok(Box::new(Metered((self.content)(&self.line), &mut self.read)));
        }
        self.inner.open(name)
    }

    fn size(&mut self, name: &str) -> io::Result<Option<u64>> {
        if name == self.object { Ok(self.bytes) } else { self.inner.size(name) }
    }
}

/// Made of a line that is as long as the longest there was; with the length that the archive tells, and what is said of it.
type Replacement = (fn(&str) -> Box<dyn Read>, Option<u64>, &'static str);

/// What is read ahead of what is compressed, and of lines.
const AHEAD: u64 = 64 << 10;

#[test]
fn no_more_of_an_object_is_read_than_was_written_and_nothing_of_one_of_another_length() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("endless");
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes')");
    split_time(conn, 2, Duration::from_millis(1_000));
    let many = "INSERT INTO notes SELECT n, repeat(md5(n::text), 1 + n % 10) FROM generate_series";
    run(conn, &format!("{many}(1, 1000) n"));
    run(
        conn,
        "SELECT pg_sleep_until(min(threadline.instant_of(p.end_id)) + interval '10 milliseconds') FROM threadline.partitions() p",
    );
    run(conn, &format!("{many}(1001, 2000) n"));
    run(conn, "INSERT INTO notes VALUES (0, 'stays')");
    hold(conn, 0);
    wait_for_end(conn);
    assert!(count(conn, "audit_changes_2001_01") == 1000 && count(conn, "audit_changes_2001_02") == 1001);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let (before, archives) = (everything(conn), retention::archives(conn).unwrap());
    let mut replaced = 0;
    for month in &archives {
        for archived in &month.objects {
            let objects = match (archived.kind, archived.object.rsplit_once('/')) {
                (ArchivedKind::Month, Some((beside, _))) => {
                    let table = archived.tables["audit_changes"].content.clone().unwrap();
                    vec![
                        (format!("{beside}/audit_changes.ndjson.gz"), table),
                        (archived.object.clone(), manifest(archived)),
                    ]
                }
                _ => vec![(archived.object.clone(), archived.content.clone())],
            };
            for (object, written) in objects {
                let line = format!("{}\n", "x".repeat(usize::try_from(written.longest_line).unwrap()));
                let contents: Vec<Replacement> = if object.ends_with(".json") {
                    vec![(|_| raw("{}"), None, " bytes or more, and ")]
                } else {
                    vec![
                        (|_| gzip("0"), None, " bytes in a line or more"),
                        (|_| gzip("{}\n"), None, " rows or more"),
                        (|line| gzip(line), None, " bytes of lines or more"),
                        (|_| raw(EMPTY_MEMBER), None, " bytes or more, and "),
                        (|_| raw("{}\n"), None, "does not have what was stored"),
                    ]
                };
                let other: Replacement = (|_| raw("{}"), Some(7), "has 7 bytes, and ");
                for (content, bytes, said) in contents.into_iter().chain([other]) {
                    let mut archive = Replaced {
                        inner: dir.archive(),
                        object: object.clone(),
                        bytes,
                        content,
                        line: line.clone(),
                        read: 0,
                    };
                    for restoring in [false, true] {
                        archive.read = 0;
                        let refused = if restoring {
                            retention::restore_archive(conn, &mut archive, &month.month).map(drop)
                        } else {
                            retention::verify_archive(&mut archive, month)
                        };
                        let Err(Error::ArchiveUnsound { object: named, problem }) = &refused else {
                            panic!("{object}, {said}: {refused:?}");
                        };
                        assert!(*named == object && problem.contains(said), "{named}, {said}: {problem}");
                        let most = if bytes.is_some() { 0 } else { written.bytes + AHEAD };
                        assert!(archive.read <= most, "{object}, {said}: read {} of {most}", archive.read);
                        if let [found, expected] = numbers(problem)[..] {
                            assert!(found <= expected + AHEAD, "{object}: {problem}");
                        }
                        replaced += 1;
                    }
                }
            }
        }
    }
    assert!(replaced >= 2 * 6 * 2 + 2 * 2, "{replaced}: a part, a month's table and its manifest");
    assert_eq!(everything(conn), before);
}

/// Compressed nothing: as many of them as there are, there is nothing in them.
const EMPTY_MEMBER: [u8; 20] = [31, 139, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A month's is as long as what its tables leave of it.
fn manifest(archived: &ArchivedObject) -> ArchivedContent {
    let tables: u64 = archived.tables.values().map(|table| table.content.as_ref().unwrap().bytes).sum();
    let mut content = archived.content.clone();
    content.bytes -= tables;
    content
}

fn numbers(problem: &str) -> Vec<u64> {
    problem.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}
