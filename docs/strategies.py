"""Write strategies.md and composition.md anew, from the strategies' own code: python docs/strategies.py"""

from pathlib import Path

from hansa.conf.pages import compositions, overview

if __name__ == "__main__":
    for name, page in (("strategies.md", overview()), ("composition.md", compositions())):
        Path(__file__).with_name(name).write_text(page, encoding="utf-8")
