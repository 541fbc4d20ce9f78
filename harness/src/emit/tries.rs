//! All of it again and again, each time in a process of its own.

use crate::emit::story::Story;

const WHY: &str = "The bug shows only now and then: each try is a process of its own.";

/// All of it again and again, before anything is made that a try makes for itself.
pub(super) fn python(story: &Story<'_>) -> String {
    if story.tries == 1 {
        return String::new();
    }
    format!(
        "# {WHY}
if \"once\" not in sys.argv:
    for _ in range({}):
        status = subprocess.call([sys.executable, __file__, \"once\"])
        if status != 0:
            sys.exit(status)
    sys.exit(print(\"The bug is not there.\"))

",
        story.tries
    )
}

/// The same at the start of `main`.
pub(super) fn c(story: &Story<'_>) -> String {
    match story.tries {
        1 => String::new(),
        tries => format!(
            "    /* {WHY} */
    for (int tries = {tries}; tries > 0; tries--) {{
        int status = 0;
        pid_t tried = fork();
        if (tried == 0)
            break;
        if (tried < 0)
            return 2;
        waitpid(tried, &status, 0);
        if (status != 0)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
        if (tries == 1)
            return puts(\"The bug is not there.\") < 0;
    }}
"
        ),
    }
}

/// The same before anything else is done.
pub(super) fn shell(story: &Story<'_>) -> String {
    match story.tries {
        1 => String::new(),
        tries => format!(
            "# {WHY}
if [ \"${{1:-}}\" != once ]; then
    for _ in {{1..{tries}}}; do bash \"$0\" once || exit; done
    echo \"The bug is not there.\"
    exit 0
fi

"
        ),
    }
}
