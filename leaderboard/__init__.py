"""The leaderboard: records as ranked tables and figures, in a Streamlit app and as a static site."""
