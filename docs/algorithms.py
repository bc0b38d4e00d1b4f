"""Write algorithms.md and composition.md anew, from the strategies' own code: python docs/algorithms.py"""

from pathlib import Path

from hansa.conf.pages import algorithms, compositions

if __name__ == "__main__":
    for name, page in (("algorithms.md", algorithms()), ("composition.md", compositions())):
        Path(__file__).with_name(name).write_text(page, encoding="utf-8")
