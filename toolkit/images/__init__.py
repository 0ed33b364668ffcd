"""Where an image comes from: one file a transport, behind the protocol in `source`."""
