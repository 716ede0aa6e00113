"""The frame of the app: navigation and sidebar. Run it with `make app`."""

import streamlit as st

st.set_page_config(page_title="SSAH Explorer", page_icon=":material/hub:", layout="wide")
st.navigation([st.Page("pages/chat.py", title="Chat", icon=":material/forum:")]).run()
