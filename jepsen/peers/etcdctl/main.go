// Command etcdctl is the stock command-line client, built from its public module, to compare with.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
