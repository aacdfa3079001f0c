// read at each install
