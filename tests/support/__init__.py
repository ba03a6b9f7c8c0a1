"""What several tests share: peers made by hand, decoders independent of the program, things to wait for."""
