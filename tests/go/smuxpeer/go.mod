module smuxpeer

go 1.24

require github.com/xtaci/smux v1.5.27
