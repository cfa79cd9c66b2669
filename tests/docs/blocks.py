"""Takes the blocks that are run out of a document: block-N holds the commands, line-N the line where they begin. Prints how
many there are. Usage: python3 blocks.py DOCUMENT FOLDER"""

import re
import sys
from pathlib import Path

document, folder = Path(sys.argv[1]), Path(sys.argv[2])
count, fence, block = 0, None, []
for number, line in enumerate(document.read_text().splitlines(), 1):
    mark = re.match(r"( *)(`{3,})(.*)$", line)
    if fence is None and mark:
        fence, kind, began, block = mark[2], mark[3].strip(), number + 1, []
    elif fence is not None and mark and mark[2] == fence and not mark[3]:
        if kind == "sh":
            count += 1
            (folder / f"block-{count}").write_text("\n".join(block) + "\n")
            (folder / f"line-{count}").write_text(f"{began}\n")
        fence = None
    elif fence is not None:
        block.append(line)
if fence is not None:
    sys.exit(f"{document}: a block is not closed")
print(count)
