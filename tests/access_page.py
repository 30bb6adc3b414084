"""docs/access.md: its recipes."""

import re

from pipeline.settings import ROOT

PAGE = (ROOT / "docs/access.md").read_text()
SECTIONS = PAGE.partition("## Recipes")[2].partition("\n## ")[0].split("\n### ")[1:]
RECIPES = {  # {heading: (language, text)}
    section.splitlines()[0]: re.search(r"```(\w+)\n(.*?)```", section, re.DOTALL).groups()
    for section in SECTIONS
    if "```" in section
}
