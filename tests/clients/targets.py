"""What the steps need to know of the two servers."""


class EVERYTHING:
    """The official test server."""

    server = "mcp-servers/everything"
    resources = 7
    templates = ["demo://resource/dynamic/blob/{resourceId}", "demo://resource/dynamic/text/{resourceId}"]
    texts = {
        "demo://resource/static/document/features.md": r"(?s).{100}",
        "demo://resource/dynamic/text/7": "Resource 7: ",
    }
    blob = ("demo://resource/dynamic/blob/8", b"Resource 8: ")
    prompts = ["args-prompt", "completable-prompt", "resource-prompt", "simple-prompt"]
    add = "get-sum"
    long = "trigger-long-running-operation"
    sampling = "trigger-sampling-request"
    elicitation = "trigger-elicitation-request"
    roots = "get-roots-list"
    # It asks for roots when it starts and when they change, not when they are wanted.
    roots_at_start = True
    forms = 1
    update = ("demo://resource/dynamic/text/1", "toggle-subscriber-updates")
    change = ("gzip-file-as-resource", {"name": "hello.gz", "data": "data:text/plain,hello"}, ["resources"])
    # A line every 5 s, from when this tool is called until it is called again.
    log_toggle = "toggle-simulated-logging"
    log_seconds = 5.5
    log_line = "level.message"


class MODERN:
    """modern_server.mjs."""

    server = "modern-test-server"
    resources = 2
    templates = ["memo://bytes/{number}", "memo://note/{number}"]
    texts = {"memo://long": r"(?s).{100}", "memo://note/7": "Note 7$"}
    blob = ("memo://bytes/8", b"Note 8")
    prompts = ["args-prompt", "completable-prompt"]
    add = "add"
    long = "progress"
    sampling = "ask_sampling"
    elicitation = "ask_elicitation"
    roots = "ask_roots"
    roots_at_start = False
    forms = 3
    update = ("memo://counter", "touch")
    change = ("change_lists", {}, ["tools", "prompts", "resources"])
    log_toggle = None
    log_seconds = 0.2
    log_line = r"step \d of 4$"


TARGETS = {"everything": EVERYTHING, "modern": MODERN}
