//! What the compiler says to somebody who made a mistake: one message, on the token at fault, with what was expected.

#[test]
fn every_mistake_gets_one_message_that_says_what_was_expected() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("ui/derive/*.rs");
    tests.compile_fail("ui/audited/*.rs");
}
