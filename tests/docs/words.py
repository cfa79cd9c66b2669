"""What the documents name, link to and quote, against the program, the other programs and the source. A line a check; the counts go to
the file TALLY. Usage: python3 words.py GATEWAY TALLY"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RIVALS = ROOT / "target" / "rivals"
# Of each other program of docs/moving.md: its section, and what prints its options.
OTHERS = {
    "supergateway": ["node", RIVALS / "supergateway/node_modules/supergateway/dist/index.js", "--help"],
    "mcp-proxy (npm)": ["node", RIVALS / "npm/node_modules/mcp-proxy/dist/bin/mcp-proxy.mjs", "--help"],
    "mcp-proxy (PyPI)": [RIVALS / "pypi/bin/mcp-proxy", "--help"],
}
# They say something about the program itself.
COMMON = {"--help", "--version"}
OPTION = re.compile(r"--[A-Za-z][A-Za-z0-9-]*")

passed = failed = 0


def say(what, faults):
    global passed, failed
    if faults:
        failed += 1
        print(f"FAIL {what}: {'; '.join(sorted(faults))}")
    else:
        passed += 1
        print(f"ok   {what}")


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def without_blocks(text):
    return re.sub(r"(?ms)^ *(`{3,}).*?^ *\1 *$", "", text)


def blocks(text):
    """Language and content of each fenced block."""
    return [(kind.strip(), body) for _, kind, body in re.findall(r"(?ms)^(`{3,})([^\n]*)\n(.*?)^\1 *$", text)]


def printed(words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def options(help):
    """What a --help lists: the options that its lines begin with."""
    starts = [re.match(r" {1,8}(-\S.*?)(?:  |$)", line) for line in help.splitlines()]
    return {option for start in starts if start for option in OPTION.findall(start[1])}


def own_options(gateway):
    commands = ([], ["token", "new"], ["print-config"], ["healthcheck"])
    return set().union(*(options(printed([gateway, *words, "--help"])) for words in commands))


def named(text):
    """The options that inline code begins with."""
    return {OPTION.match(code)[0] for code in re.findall(r"`(--[A-Za-z][^`]*)`", text)}


def rows(section):
    """The first cell of each row of the tables of a section, and the rest of the row."""
    for line in section.splitlines():
        if line.startswith("|") and not re.match(r"\|[ |:-]*$", line):
            _, first, rest = re.split(r"(?<!\\)\|", line, maxsplit=2)
            yield first, rest


def check_options(gateway):
    own = own_options(gateway) | COMMON
    for path in documents():
        text = without_blocks(path.read_text())
        if path.name == "moving.md":
            for name, words in OTHERS.items():
                check_other(name, words, text)
            # What is theirs stands in the first column.
            text = re.sub(r"(?m)^\|[^|]*(?<!\\)\|", "|", text)
        say(f"{path.relative_to(ROOT)}: every option that it names exists", named(text) - own)


def check_other(name, words, text):
    found = re.search(rf"(?ms)^## From {re.escape(name)}.*?(?=^## |\Z)", text)
    if not found:
        return say(f"docs/moving.md has a section for {name}", {"it has none"})
    if not all(Path(word).exists() for word in words if isinstance(word, Path)):
        return print(f"     docs/moving.md: {name} is not installed below target/rivals: its options are not looked up")
    theirs = options(printed([str(word) for word in words])) - COMMON
    told = {option for first, _ in rows(found[0]) for option in OPTION.findall(first)} - COMMON
    # A switch that can be turned off has a second name.
    theirs |= {f"--no-{option[2:]}" for option in theirs}
    say(f"docs/moving.md: every option of {name} that it names exists", told - theirs)
    untold = {option for option in theirs - told if not option.startswith("--no-")}
    say(f"docs/moving.md: every option of {name} is named", untold)


def stands(piece, source):
    """Whether the source has it: a level, the name of a field, or a part of a text."""
    if piece in ("ERROR", "WARN", "INFO") or len(piece) < 3:
        return True
    field = re.fullmatch(r"(\w+)=", piece)
    if field:
        return bool(re.search(rf"\b{field[1]}\b", source))
    # What stands before a colon may be put in front of several texts.
    return piece in source or all(part in source for part in piece.split(": "))


def check_messages():
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    # As the program prints it: strings in one piece, quotes as they are.
    source = re.sub(r"\\\n\s*", "", source).replace('\\"', '"')
    for path in documents():
        if path.name != "troubleshooting.md":
            continue
        for title, section in re.findall(r"(?ms)^## ([^\n]*)\n(.*?)(?=^## |\Z)", path.read_text()):
            faults = set()
            for kind, body in blocks(section):
                if kind != "text":
                    continue
                for line in body.splitlines():
                    faults |= {repr(piece) for piece in map(str.strip, line.split("…")) if not stands(piece, source)}
            say(f"docs/troubleshooting.md, {title}: what it quotes is in the source", faults)


def anchors(text):
    """What a forge calls the headings of a document."""
    heads = re.findall(r"(?m)^#+ (.*)$", without_blocks(text))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def check_links():
    for path in documents():
        faults = set()
        for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path.read_text())):
            file, _, anchor = link.partition("#")
            if ":" in file:
                continue
            target = path.parent / file if file else path
            if not target.exists():
                faults.add(f"{link}: no such file")
            elif anchor and anchor not in anchors(target.read_text()):
                faults.add(f"{link}: no such heading")
        say(f"{path.relative_to(ROOT)}: its links lead somewhere", faults)


def check_files():
    text = (ROOT / "docs/reverse-proxies.md").read_text()
    quoted = {body for _, body in blocks(text)}
    for path in sorted((ROOT / "packaging/proxies").iterdir()):
        faults = set() if path.read_text() in quoted else {"it is not quoted as it is"}
        say(f"docs/reverse-proxies.md quotes packaging/proxies/{path.name}", faults)


def main():
    check_options(sys.argv[1])
    check_links()
    check_messages()
    check_files()
    Path(sys.argv[2]).write_text(f"{passed} {failed}\n")


main()
