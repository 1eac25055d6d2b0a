"""Pure: what the daemon reports about itself: snapshot replica, rates and documents."""
