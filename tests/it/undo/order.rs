//! The order of the steps: what constraints ask for is found row by row, and what cannot be ordered is said.

use threadline::Error;
use threadline::undo::{LimitReason, Resolution};
use threadline_tests::{audited_database, run};

use super::{doing, outline, plan, rows, undo_clean, undo_with};

/// Runs `done` over `setup`, undoes it, and undoes that, each time checking the tables.
fn goes_both_ways(create: &str, tables: &[&str], setup: &str, done: &str) -> Vec<String> {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, create);
    for table in tables {
        run(conn, &format!("SELECT threadline.attach('{table}')"));
    }
    doing(conn, setup);
    let all =
        |conn: &mut diesel::PgConnection| tables.iter().map(|table| rows(conn, table)).collect::<Vec<_>>();
    let before = all(conn);
    let done = doing(conn, done);
    let after = all(conn);
    let script = plan(conn, done).to_sql(Resolution::Refuse).unwrap_or_else(|error| panic!("{error}"));
    let undone = undo_clean(conn, done);
    assert_eq!(all(conn), before);
    undo_clean(conn, undone);
    assert_eq!(all(conn), after);
    script
        .lines()
        .filter_map(|line| {
            line.strip_prefix("EXECUTE threadline_undo ").or(line.strip_prefix("SET CONSTRAINTS "))
        })
        .map(str::to_owned)
        .collect()
}

const FAMILY: &str = "CREATE TABLE parents (id integer PRIMARY KEY);
    CREATE TABLE children (id integer PRIMARY KEY, parent integer REFERENCES parents ON DELETE CASCADE);
    CREATE TABLE toys (id integer PRIMARY KEY, child integer NOT NULL REFERENCES children ON DELETE CASCADE)";
const FAMILY_TABLES: &[&str] = &["toys", "children", "parents"];

#[test]
fn rows_come_back_after_those_they_refer_to_and_go_before_them() {
    let setup = "INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (1, 1); INSERT INTO toys VALUES (1, 1)";
    // The cascade is captured too: parents first, then children, then toys.
    let back = goes_both_ways(FAMILY, FAMILY_TABLES, setup, "DELETE FROM parents WHERE id = 1");
    assert_eq!(back, ["('1');", "('1', '1');", "('1', '1');"]);
    let gone = goes_both_ways(
        FAMILY,
        FAMILY_TABLES,
        setup,
        "INSERT INTO parents VALUES (3); INSERT INTO children VALUES (2, 3); INSERT INTO toys VALUES (9, 2)",
    );
    assert_eq!(gone, ["('9');", "('2');", "('3');"]);
    // A child is given away, and its former parent goes.
    goes_both_ways(
        FAMILY,
        FAMILY_TABLES,
        setup,
        "INSERT INTO parents VALUES (3); UPDATE children SET parent = 3; DELETE FROM parents WHERE id = 1",
    );
}

#[test]
fn within_a_table_that_refers_to_itself_rows_are_ordered_too() {
    let tree = "CREATE TABLE tree (id integer PRIMARY KEY, parent integer NOT NULL REFERENCES tree)";
    let setup = "INSERT INTO tree VALUES (1, 1), (5, 1), (3, 5), (4, 3), (2, 4)";
    let back = goes_both_ways(tree, &["tree"], setup, "DELETE FROM tree");
    assert_eq!(back, ["('1', '1');", "('5', '1');", "('3', '5');", "('4', '3');", "('2', '4');"]);
}

#[test]
fn a_circle_is_broken_at_a_column_that_may_be_null() {
    let circle = "CREATE TABLE a (id integer PRIMARY KEY, b integer); CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b";
    let setup = "INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1";
    let back =
        goes_both_ways(circle, &["a", "b"], setup, "UPDATE a SET b = NULL; DELETE FROM b; DELETE FROM a");
    assert_eq!(back, ["('1', NULL);", "('1', '1');", "('1', '1');"]);
    // The other way around: the reference is let go first.
    goes_both_ways(
        circle,
        &["a", "b"],
        setup,
        "INSERT INTO a VALUES (2, NULL); INSERT INTO b VALUES (2, 2); UPDATE a SET b = 2 WHERE id = 2",
    );
}

#[test]
fn a_circle_of_deferrable_constraints_is_deferred() {
    let circle = "CREATE TABLE a (id integer PRIMARY KEY, b integer NOT NULL); CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a);
        ALTER TABLE a ADD CONSTRAINT of_b FOREIGN KEY (b) REFERENCES b DEFERRABLE";
    let begin = "SET CONSTRAINTS ALL DEFERRED; ";
    let back = goes_both_ways(
        circle,
        &["a", "b"],
        &format!("{begin} INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1)"),
        &format!("{begin} DELETE FROM b; DELETE FROM a"),
    );
    assert_eq!(back, ["public.of_b DEFERRED;", "('1', '1');", "('1', '1');"]);
}

#[test]
fn unique_values_are_exchanged_by_way_of_one_nobody_uses() {
    let numbered =
        "CREATE TABLE numbered (id integer PRIMARY KEY, n integer NOT NULL UNIQUE, code text UNIQUE)";
    let setup = "INSERT INTO numbered VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, NULL)";
    let rounds = goes_both_ways(
        numbered,
        &["numbered"],
        setup,
        "UPDATE numbered SET n = -n; UPDATE numbered SET n = CASE n WHEN -10 THEN 20 WHEN -20 THEN 30 ELSE 10 END",
    );
    assert_eq!(rounds.len(), 4, "{rounds:?}");
    assert!(rounds[0].contains(&i32::MIN.to_string()), "{rounds:?}");
    // Where the column may be NULL, that is what it is in between.
    let rounds = goes_both_ways(
        numbered,
        &["numbered"],
        setup,
        "UPDATE numbered SET code = NULL WHERE id = 1; UPDATE numbered SET code = 'a' WHERE id = 2; UPDATE numbered SET code = 'b' WHERE id = 1",
    );
    assert!(rounds.len() == 3 && rounds[0].starts_with("(NULL,"), "{rounds:?}");
    // A chain needs no more than its order.
    let rounds = goes_both_ways(
        numbered,
        &["numbered"],
        setup,
        "UPDATE numbered SET n = 40 WHERE id = 3; UPDATE numbered SET n = 30 WHERE id = 2; UPDATE numbered SET n = 20 WHERE id = 1",
    );
    assert_eq!(rounds, ["('10', '1');", "('20', '2');", "('30', '3');"]);
    // Keys, with rows that refer to them.
    goes_both_ways(
        "CREATE TABLE parents (id integer PRIMARY KEY);
        CREATE TABLE children (id integer PRIMARY KEY, parent integer NOT NULL REFERENCES parents ON UPDATE CASCADE)",
        &["parents", "children"],
        "INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (1, 1), (2, 2)",
        "UPDATE parents SET id = 3 WHERE id = 1; UPDATE parents SET id = 1 WHERE id = 2; UPDATE parents SET id = 2 WHERE id = 3",
    );
    let deferred = goes_both_ways(
        "CREATE TABLE numbered (id integer PRIMARY KEY, n date NOT NULL UNIQUE DEFERRABLE)",
        &["numbered"],
        "INSERT INTO numbered VALUES (1, '2024-01-01'), (2, '2024-01-02')",
        "UPDATE numbered SET n = CASE id WHEN 1 THEN date '2024-01-02' ELSE date '2024-01-01' END",
    );
    assert_eq!(deferred[0], "public.numbered_n_key DEFERRED;");
}

#[test]
fn what_has_no_order_is_said_in_the_plan_and_refused() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE dated (id integer PRIMARY KEY, d date NOT NULL UNIQUE, note text); SELECT threadline.attach('dated')",
    );
    doing(conn, "INSERT INTO dated VALUES (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03')");
    let done = doing(
        conn,
        "UPDATE dated SET d = '2020-01-01' WHERE id = 1; UPDATE dated SET d = '2024-01-01' WHERE id = 2;
        UPDATE dated SET d = '2024-01-02' WHERE id = 1; UPDATE dated SET note = 'x' WHERE id = 3",
    );
    let plan = plan(conn, done);
    let constraints = vec!["dated_d_key".to_owned()];
    assert_eq!(plan.limits.len(), 1, "{:?}", outline(&plan));
    assert_eq!(plan.limits[0].reason, LimitReason::CannotOrder { constraints });
    let before = rows(conn, "dated");
    for resolution in [Resolution::Refuse, Resolution::Skip, Resolution::Overwrite] {
        let refused = undo_with(conn, done, resolution);
        assert!(
            matches!(&refused, Err(Error::UndoRefused { limits, .. }) if limits.len() == 1),
            "{refused:?}"
        );
    }
    assert_eq!(rows(conn, "dated"), before);
}
