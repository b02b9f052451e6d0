//! Columns of every kind, for tables made at random.

/// Types of every built-in family, with values of which some are equal but not the same.
pub(crate) const TYPES: &[(&str, &[&str])] = &[
    ("smallint", &["0", "-32768", "7"]),
    ("integer", &["0", "1", "2147483647"]),
    ("bigint", &["9007199254740993", "-1", "0"]),
    ("numeric", &["1", "1.0", "1.00", "NaN", "Infinity", "123456789012345678901234567890.123456789", "0.0"]),
    ("numeric(8,3)", &["1", "1.001", "-99999.999"]),
    ("real", &["0.1", "-0", "0", "NaN", "1e30", "3.4028235e38"]),
    ("double precision", &["0.1", "0.30000000000000004", "0", "-0", "-Infinity", "NaN", "5e-324"]),
    ("boolean", &["true", "false"]),
    ("text", &["", "a", "é", "e\u{301}", "a\\b\"c", "\u{1f600}", "null", "[REDACTED]"]),
    ("varchar(20)", &["", "a ", "a"]),
    ("char(5)", &["a", "a b", ""]),
    ("name", &["n", "N"]),
    ("\"char\"", &["c", ""]),
    ("bytea", &["\\x", "\\x00ff", "abc"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    ("date", &["2024-02-29", "infinity", "0044-03-15 BC"]),
    ("time", &["23:59:59.999999", "24:00:00", "00:00"]),
    ("timetz", &["12:00+00", "12:00+02", "14:00+02"]),
    ("timestamp", &["2024-03-31 02:30:00.5", "-infinity", "294276-12-31 23:59:59"]),
    (
        "timestamptz",
        &["2024-03-31 02:30:00.5+01", "2024-03-31 01:30:00.5+00", "infinity", "0001-01-01 00:00:00Z"],
    ),
    ("interval", &["P1M", "P30D", "PT720H", "P1Y2M3DT4H5M6.789S", "P-1Y2M-3DT4H", "PT-0.000001S"]),
    ("json", &["{\"a\": 1, \"a\": 2}", "{\"a\":1}", "null", "[1.0, 1.00]"]),
    ("jsonb", &["{\"a\": 1.0, \"b\": [null]}", "{\"a\": 1.00, \"b\": [null]}", "null", "\"x\"", "1e400"]),
    ("xml", &["<a/>", "<a></a>", "text"]),
    ("integer[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}"]),
    ("text[]", &["{a,\"b,c\",NULL,\"NULL\"}", "{\"\"}", "{}"]),
    ("timestamptz[]", &["{\"2024-01-01 00:00+05\"}", "{infinity}"]),
    ("numeric[]", &["{1.0}", "{1.00}", "{NaN,1e-10}"]),
    ("bytea[]", &["{\"\\\\x00\"}", "{abc}"]),
    ("interval[]", &["{PT720H}", "{P30D}"]),
    ("int4range", &["[1,5)", "empty", "(,7]"]),
    ("daterange", &["[2024-01-01,2024-02-01]", "[,infinity)"]),
    ("tstzrange", &["[2024-01-01 00:00+05,2024-01-02 00:00+00)", "(,)"]),
    ("nummultirange", &["{[1.0,2.0]}", "{[1.00,2.0]}", "{}"]),
    ("tstzmultirange", &["{[2024-01-01 00:00+05,infinity)}", "{}"]),
    ("inet", &["10.0.0.1", "10.0.0.1/24", "::1"]),
    ("cidr", &["10.0.0.0/8", "::/0"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("bit(4)", &["1010", "0000"]),
    ("varbit", &["1", "01", ""]),
    ("point", &["(0.1,-0)", "(0.1,0)", "(NaN,Infinity)"]),
    ("box", &["(1,1),(0,0)", "(0.1,0.2),(0.3,0.30000000000000004)"]),
    ("circle", &["<(0.1,0.2),3>"]),
    ("path", &["[(0,0),(1,0.1)]", "((0,0),(1,0.1))"]),
    ("tsvector", &["'a':1 'b':2A", "'a' 'b'"]),
    ("tsquery", &["'a' & !'b'", "'a' <2> 'b'"]),
    ("money", &["12.34", "-1234567.89"]),
    ("pg_lsn", &["16/B374D848"]),
    ("mood", &["sad", "ok"]),
    ("mood[]", &["{sad,ok}", "{}"]),
    ("dom", &["1.0", "1.00"]),
    ("dom[]", &["{1.0}", "{1.00,2}"]),
    ("instant", &["2024-03-31 02:30:00.5+01"]),
    ("pair", &["(1,\"2024-01-01 00:00+05\",0.1)", "(,,)", "(1,infinity,-0)"]),
    ("pair[]", &["{\"(1,\\\"2024-01-01 00:00+05\\\",0.1)\"}"]),
    ("floatrange", &["[0.1,0.30000000000000004]", "empty"]),
    ("citext", &["a", "A"]),
    ("hstore", &["a=>1", "a=>NULL, b=>\"x y\""]),
    ("ltree", &["a.b.c"]),
    ("cube", &["(0.1,0.30000000000000004)", "(1)"]),
];

/// Types whose values the trail keeps as text: json, which jsonb would not keep as it is, and what did not come with PostgreSQL.
pub(crate) const AS_TEXT: &[&str] =
    &["json", "mood", "mood[]", "dom[]", "pair", "pair[]", "floatrange", "citext", "hstore", "ltree", "cube"];

/// A session's settings under which a value has one text.
pub(crate) const CANONICAL: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1;
    SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET search_path = public";

/// Makes what [`TYPES`] has beyond the built-in types.
pub(crate) const CREATE_TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN dom AS numeric; CREATE DOMAIN instant AS timestamptz;
        CREATE TYPE pair AS (a integer, b timestamptz, c float8); CREATE TYPE floatrange AS RANGE (subtype = float8);
        CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube";
