"""One peer connection: ICE, DTLS and SCTP joined on the packet path, and the SDP that negotiates them."""
