use crate::sample::Sample;
#[test]
fn look() {
    let sample = Sample::new();
    let text = std::fs::read_to_string("/tmp/look.txt").unwrap();
    for line in text.lines() {
        let line = ["post.published", "post.created", "user.changed","post.purged"].iter().fold(line.to_owned(), |l, n| if l.contains(&format!("@{n}")) { l.replace(&format!("@{n}"), &sample.transaction(n)) } else { l });
        let line = ["before","attached", "created", "published", "purged","filled","gap","end"].iter().fold(line, |l, n| if l.contains(&format!("%{n}")) { l.replace(&format!("%{n}"), &sample.mark(n)) } else { l });
        println!("\n$ threadline {line}");
        let args: Vec<&str> = line.split(' ').collect();
        let run = sample.run(&args);
        println!("{}---{}[{}]", run.stdout, run.stderr, run.code.unwrap());
    }
}
