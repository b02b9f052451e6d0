//! Whatever becomes of the writer, the reader or the trail meanwhile.

use super::*;

/// Takes so many bytes and then fails; notes that it was called again.
struct Full<'a> {
    taken: &'a mut Vec<u8>,
    room: usize,
    failed: Rc<Cell<u32>>,
}

impl Write for Full<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fitting = bytes.len().min(self.room - self.taken.len());
        self.taken.extend_from_slice(&bytes[..fitting]);
        if fitting == 0 && !bytes.is_empty() {
            self.failed.set(self.failed.get() + 1);
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room"));
        }
        Ok(fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.taken.len() == self.room { Err(io::Error::other("not flushed")) } else { Ok(()) }
    }
}

#[test]
fn a_writer_that_fails_ends_the_export_at_once_and_leaves_the_connection_as_it_was() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 3000) n",
    );
    for format in FORMATS {
        let (all, _) = whole(conn, format);
        // Nothing is written of an empty file, and the times at which documents were generated differ.
        for room in [0, 10, 20_000, all.len() / 2, all.len() - 1, all.len()] {
            let (mut taken, failed) = (Vec::new(), Rc::new(Cell::new(0)));
            let full = Full { taken: &mut taken, room, failed: Rc::clone(&failed) };
            let options = ExportOptions::new(format).unlimited();
            let error = Trail::unscoped().export(conn, &Filter::new(), &options, full).unwrap_err();
            let Error::Export(cause) = &error else { panic!("{error:?}") };
            assert_eq!(error.to_string(), "the export could not be written");
            if room < all.len() {
                assert_eq!(
                    (cause.kind(), failed.get()),
                    (io::ErrorKind::StorageFull, 1),
                    "{format:?} {room}"
                );
            } else {
                assert_eq!((cause.to_string().as_str(), failed.get()), ("not flushed", 0));
            }
            assert_eq!(taken.len(), room);
            if format != ExportFormat::Json {
                assert_eq!(taken, all[..room]);
            }
            // The transaction is over: this one can be written in.
            run(conn, "UPDATE notes SET id = id WHERE false");
        }
    }
}

/// The largest piece that was written.
struct Largest(usize);

impl Write for Largest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_more_is_held_at_once_however_long_a_transaction_and_however_large_its_rows() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n, repeat('long ', 8000) FROM generate_series(1, 1500) n",
    );
    for format in FORMATS {
        let mut largest = Largest(0);
        let options = ExportOptions::new(format).unlimited();
        let summary = Trail::unscoped().export(conn, &Filter::new(), &options, &mut largest).unwrap();
        assert!(summary.bytes > 60_000_000, "{}", summary.bytes);
        assert!(largest.0 < 10_000_000, "{format:?}: {} bytes at once", largest.0);
    }
}

/// Lets others write while an export is under way.
struct Meanwhile<F: FnMut()>(F);

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_committed_or_purged_during_an_export_makes_no_difference_to_it() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 4000) n",
    );
    for order in [Order::NewestFirst, Order::OldestFirst] {
        for filter in [Filter::new(), Filter::new().nobody()] {
            let expected = Trail::unscoped().count(conn, &filter, 100_000).unwrap().counted;
            let mut calls = 0;
            let writer = Meanwhile(|| {
                calls += 1;
                run(other, "INSERT INTO notes SELECT max(id) + 1 FROM notes");
                if calls == 2 {
                    run(
                        other,
                        "DELETE FROM threadline.audit_changes WHERE ordinal % 2 = 0 AND ordinal < 1000",
                    );
                }
            });
            let options = ExportOptions::new(ExportFormat::Csv).order(order).unlimited();
            let summary = Trail::unscoped().export(conn, &filter, &options, writer).unwrap();
            assert!(calls >= 4, "{calls}");
            assert_eq!((summary.rows, summary.truncated), (expected, false));
            assert!(summary.latest.unwrap() < summary.generated_at && summary.generated_at < clock(conn));
        }
    }
}

#[test]
fn whatever_ends_an_export_it_ends() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 4000) n",
    );
    let options = ExportOptions::new(ExportFormat::Ndjson).unlimited();
    let (filter, trail) = (Filter::new(), Trail::unscoped());

    // The application gives up while the thread that reads is at work.
    let mut calls = 0;
    let panicking = Meanwhile(|| {
        calls += 1;
        assert!(calls < 3, "the writer gives up");
    });
    let panicked =
        std::panic::catch_unwind(AssertUnwindSafe(|| trail.export(conn, &filter, &options, panicking)));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "the writer gives up");

    // The database does.
    let conn = &mut db.connect();
    let pid = text(conn, "SELECT pg_backend_pid()");
    let mut calls = 0;
    let writer = Meanwhile(|| {
        calls += 1;
        if calls == 1 {
            run(other, &format!("SELECT pg_terminate_backend({pid}, 5000)"));
        }
    });
    let error = trail.export(conn, &filter, &options, writer).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost(_) | Error::Query(_)), "{error:?}");
    assert!(calls >= 1);
}
