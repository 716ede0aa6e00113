"""The frame of the app: navigation and sidebar. Run it with `make app`."""

from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"

st.set_page_config(page_title="SSAH Explorer", page_icon=":material/hub:", layout="wide")
st.navigation([st.Page(PAGES / "chat.py", title="Chat", icon=":material/forum:")]).run()
