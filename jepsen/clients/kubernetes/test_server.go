// Package testserver stands in place of the one of k8s.io/apiserver: the same two functions, but the server is a process, whose
// program the variable SERVER names. What of the embedded server's configuration the tests set becomes flags.
package testserver

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

func freeURL(t testing.TB) url.URL {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return url.URL{Scheme: "http", Host: listener.Addr().String()}
}

// NewTestConfig is a configuration with free ports and a directory of its own.
func NewTestConfig(t testing.TB) *embed.Config {
	config := embed.NewConfig()
	client, peer := freeURL(t), freeURL(t)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.Dir = t.TempDir()
	return config
}

func flags(config *embed.Config) []string {
	given := map[string]string{
		"name": config.Name, "data-dir": config.Dir, "initial-cluster": config.InitialCluster,
		"listen-client-urls": config.ListenClientUrls[0].String(), "advertise-client-urls": config.AdvertiseClientUrls[0].String(),
		"listen-peer-urls": config.ListenPeerUrls[0].String(), "initial-advertise-peer-urls": config.AdvertisePeerUrls[0].String(),
		"max-request-bytes": fmt.Sprint(config.MaxRequestBytes), "watch-progress-notify-interval": config.WatchProgressNotifyInterval.String(),
		"cert-file": config.ClientTLSInfo.CertFile, "key-file": config.ClientTLSInfo.KeyFile,
		"trusted-ca-file": config.ClientTLSInfo.TrustedCAFile,
	}
	var flags []string
	for name, value := range given {
		if value != "" && value != "0s" {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	return flags
}

// RunEtcd starts a server, which is killed when the test ends, and connects to it.
func RunEtcd(t testing.TB, config *embed.Config) *kubernetes.Client {
	t.Helper()
	if config == nil {
		config = NewTestConfig(t)
	}
	server := exec.Command(os.Getenv("SERVER"), flags(config)...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	sealing, err := config.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS: sealing, Endpoints: []string{config.AdvertiseClientUrls[0].String()}, DialTimeout: time.Minute,
		DialOptions: []grpc.DialOption{grpc.WithBlock()},
	})
	if err != nil {
		t.Fatal(err)
	}
	client.KV = storagetesting.NewKVRecorder(client.KV)
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	return client
}
