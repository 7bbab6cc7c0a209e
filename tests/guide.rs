//! Every block of the guide compiles against the headers as it is printed, in every dialect of C, with the least around it
//! that makes it a program, and does what the guide says.

mod c_programs;

use std::fs;
use std::path::{Path, PathBuf};

use c_programs::{LINK, Program, compiler_of, compilers, is_here, library, root, run, run_checked, scratch};

/// A block by its title, with what stands before and behind it.
struct Block {
    title: &'static str,
    before: &'static str,
    after: &'static str,
    /// Changes without which no compiler takes it, and how often each is made.
    mends: &'static [(&'static str, &'static str)],
}

const fn statements(title: &'static str, before: &'static str) -> Block {
    Block { title, before, after: "}", mends: &[] }
}

const BLOCKS: [Block; 11] = [
    statements("Creating a Connection Pool", "void block(size_t max_connections, size_t buffer_size) {"),
    statements(
        "Adding Connections",
        "void block(Socket_T server, SocketPool_T pool, SocketPoll_T poll, void *app_context) {",
    ),
    statements("Connection Accessors", "void block(Connection_T conn, void *new_data) {"),
    Block {
        title: "Processing I/O",
        before: "extern SocketPoll_T poll; void remove_connection(Connection_T); int has_complete_message(SocketBuf_T);\
                 void process_message(Connection_T, SocketBuf_T);\
                 void handle_readable(Connection_T); void handle_writable(Connection_T);",
        after: "",
        mends: &[],
    },
    Block {
        title: "Removing Connections",
        before: "extern SocketPool_T pool; extern SocketPoll_T poll; void remove_connection(Connection_T);",
        after: "",
        mends: &[],
    },
    statements(
        "Graceful Shutdown (Drain)",
        "void handle_readable(Connection_T); int drain_timeout_exceeded(void);\
         void block(SocketPool_T pool, SocketPoll_T poll, SocketEvent_T *events, Arena_T arena) {",
    ),
    statements("Health Monitoring", "void block(SocketPool_T pool) {"),
    statements(
        "Rate Limiting",
        "void send_rate_limit_response(Connection_T);\
         void block(SocketPool_T pool, Connection_T conn, int max_ops, int max_total_ops, int window_ms) {",
    ),
    Block {
        title: "Idle Connection Management",
        before: "extern SocketPool_T pool; void remove_connection(Connection_T); uint64_t get_monotonic_ms(void);\
                 void cleanup_idle_connections(SocketPool_T);",
        after: "",
        mends: &[
            // A statement outside of a function.
            ("SocketPool_set_idle_timeout(pool, 30000);  // 30s", ""),
            // A block cannot capture an array, nor change what it captures, and an array of pointers to handles is not
            // one of handles.
            (
                "    Connection_T *to_remove[64];\n    int count = 0;",
                "    __block struct { Connection_T at[64]; } to_remove;\n    __block int count = 0;",
            ),
            ("to_remove[count++] = conn", "to_remove.at[count++] = conn"),
            ("remove_connection(to_remove[i])", "remove_connection(to_remove.at[i])"),
        ],
    },
    statements("Thread Safety", "void block(void) {"),
    statements(
        "Error Handling Pattern",
        "void process_client(Connection_T); void log_error(const char *, ...);\
         void block(SocketPool_T pool, Socket_T client) {",
    ),
];

/// The C code under a title of the guide.
fn block(title: &str) -> String {
    let guide = fs::read_to_string(root().join("tests/c/guide.md")).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with(title)).expect("the guide has it");
    let code = section.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    code.expect("with a block of C").to_owned()
}

/// Makes a file of C of each block, whose function, if it needs one around it, has its place for a name.
fn sources(folder: &Path) -> Vec<(PathBuf, bool)> {
    fs::create_dir_all(folder).unwrap();
    let source = |(place, Block { title, before, after, mends }): (usize, Block)| {
        let mut code = block(title);
        for (printed, mended) in mends {
            assert_eq!(code.matches(printed).count(), 1, "{title}: {printed}");
            code = code.replace(printed, mended);
        }
        let before = before.replace("void block(", &format!("void block_{place}("));
        let source = folder.join(format!("guide-{place}.c"));
        fs::write(&source, format!("#include \"pool/SocketPool.h\"\n{before}\n{code}\n{after}\n")).unwrap();
        (source, mends.iter().any(|(_, mended)| mended.contains("__block")))
    };
    BLOCKS.into_iter().enumerate().map(source).collect()
}

#[test]
fn every_block_of_the_guide_compiles_as_it_is_printed() {
    for (source, blocks) in sources(&scratch().join("guide")) {
        for (compiler, dialect) in compilers().filter(|(_, dialect)| !dialect.starts_with("c++")) {
            let mut command = compiler_of(compiler, dialect);
            if blocks && compiler == "gcc" {
                // It has no blocks.
                continue;
            }
            command.args(blocks.then_some("-fblocks")).arg("-Wno-unused-variable");
            run(command.arg("-c").arg(&source).args(["-o", "/dev/null"]));
        }
    }
}

/// With clang the block of clang's blocks too.
#[test]
fn the_blocks_of_the_guide_do_what_it_says() {
    let sources = sources(&scratch().join("guide-run"));
    for compiler in ["gcc", "clang"].into_iter().filter(|compiler| is_here(compiler)) {
        let program = Program::new(scratch().join(format!("guide-run-by-{compiler}")));
        let mut command = compiler_of(compiler, "c99");
        let has_blocks = compiler == "clang";
        command.args(if has_blocks { &["-fblocks", "-DGUIDE_BLOCKS"][..] } else { &[] });
        command.arg("-Wno-unused-variable").arg(root().join("tests/c/guide_run.c"));
        command.args(sources.iter().filter(|(_, blocks)| has_blocks || !blocks).map(|(source, _)| source));
        command.args(["-x", "none"]).arg(library()).args(LINK.split_whitespace());
        run(command.arg("-o").arg(&*program));
        program.run(&[]);
        if !has_blocks {
            // It does not read what clang says for debuggers.
            run_checked(&program, &[]);
        }
    }
}
