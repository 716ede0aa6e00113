"""The frame of the app: what every screen stands in. Run it with `make app`."""

from pathlib import Path

import streamlit as st

ROOT = Path(__file__).parent

# Our own icon: a named one would be fetched from another host.
icon = str(ROOT / "assets" / "icon.png")
st.set_page_config(page_title="SSAH Explorer", page_icon=icon, layout="wide")
page = st.navigation(
    [
        st.Page(ROOT / "pages" / "overview.py", title="Overview", icon=":material/home:"),
        st.Page(ROOT / "pages" / "chat.py", title="Chat", icon=":material/forum:"),
        st.Page(ROOT / "pages" / "layers.py", title="Layers", icon=":material/layers:"),
        st.Page(ROOT / "pages" / "score.py", title="Score", icon=":material/query_stats:"),
        st.Page(ROOT / "pages" / "study.py", title="Study", icon=":material/science:"),
        st.Page(ROOT / "pages" / "direction.py", title="Direction", icon=":material/explore:"),
        st.Page(ROOT / "pages" / "training.py", title="Training", icon=":material/model_training:"),
        st.Page(ROOT / "pages" / "runs.py", title="Runs", icon=":material/inventory_2:"),
        st.Page(ROOT / "pages" / "glossary.py", title="Glossary", icon=":material/menu_book:"),
    ]
)

st.session_state["framed"] = True
came_for = st.session_state.pop("came_for", None)
if came_for is not None:  # see pages/parts/screen.py
    st.switch_page(ROOT / "pages" / f"{came_for}.py", query_params=st.query_params.to_dict())

# The first visit imports torch and transformers, which takes seconds: say so instead of staying blank.
with st.spinner("Starting"):
    import ssah_core  # noqa: F401

page.run()
