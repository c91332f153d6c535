// Command go is an ordinary program on etcd's own Go client: it knows nothing of the server but its address, and
// fails at the first answer an etcd user would not expect.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go-client host:port")
		os.Exit(2)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{os.Args[1]},
		DialTimeout: 60 * time.Second,
		// The client logs every refusal, and some are asked for below.
		Logger: zap.NewNop(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "connect:", err)
		os.Exit(2)
	}
	defer client.Close()
	steps := []struct {
		name string
		run  func(context.Context, *clientv3.Client) error
	}{
		{"put, get, delete", putGetDelete},
		{"compare and swap", compareAndSwap},
		{"errors by name", errorsByName},
		{"watch a prefix", watchPrefix},
		{"watch from the past and from the compacted past", watchPast},
		{"a lease of 5 s ends", leaseEnds},
		{"a lease kept alive lives", leaseLives},
		{"lock and election", lockAndElection},
		{"status, members, hash", maintenance},
	}
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(context.Background(), 180*time.Second)
		err := step.run(ctx, client)
		cancel()
		if err != nil {
			fmt.Printf("FAILED  %s: %v\n", step.name, err)
			os.Exit(1)
		}
		fmt.Printf("ok      %s\n", step.name)
	}
}

func putGetDelete(ctx context.Context, c *clientv3.Client) error {
	first, err := c.Put(ctx, "go/a", "1")
	if err != nil {
		return err
	}
	second, err := c.Put(ctx, "go/a", "2", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	if second.PrevKv == nil || string(second.PrevKv.Value) != "1" || second.Header.Revision != first.Header.Revision+1 {
		return fmt.Errorf("second put: %v", second)
	}
	got, err := c.Get(ctx, "go/a")
	if err != nil {
		return err
	}
	if got.Count != 1 || string(got.Kvs[0].Value) != "2" || got.Kvs[0].Version < 2 || got.Kvs[0].ModRevision != second.Header.Revision {
		return fmt.Errorf("get: %v", got)
	}
	old, err := c.Get(ctx, "go/a", clientv3.WithRev(first.Header.Revision))
	if err != nil || string(old.Kvs[0].Value) != "1" {
		return fmt.Errorf("get at the first revision: %v, %w", old, err)
	}
	deleted, err := c.Delete(ctx, "go/a", clientv3.WithPrevKV())
	if err != nil || deleted.Deleted != 1 || string(deleted.PrevKvs[0].Value) != "2" {
		return fmt.Errorf("delete: %v, %w", deleted, err)
	}
	if got, err = c.Get(ctx, "go/a"); err != nil || got.Count != 0 {
		return fmt.Errorf("get after delete: %v, %w", got, err)
	}
	return nil
}

func compareAndSwap(ctx context.Context, c *clientv3.Client) error {
	for round, want := range []bool{true, false} {
		answer, err := c.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision("go/cas"), "=", 0)).
			Then(clientv3.OpPut("go/cas", "mine")).
			Else(clientv3.OpGet("go/cas")).
			Commit()
		if err != nil || answer.Succeeded != want {
			return fmt.Errorf("round %d: %v, %w", round, answer, err)
		}
	}
	_, err := c.Delete(ctx, "go/cas")
	return err
}

func errorsByName(ctx context.Context, c *clientv3.Client) error {
	if _, err := c.Put(ctx, "", "x"); !errors.Is(err, rpctypes.ErrEmptyKey) {
		return fmt.Errorf("put without a key: %v", err)
	}
	if _, err := c.Put(ctx, "go/l", "x", clientv3.WithLease(0x7777)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("put on an unknown lease: %v", err)
	}
	if _, err := c.Get(ctx, "go/l", clientv3.WithRev(1<<60)); !errors.Is(err, rpctypes.ErrFutureRev) {
		return fmt.Errorf("get in the future: %v", err)
	}
	return nil
}

// watchPrefix writes and deletes 10 keys under a watch and expects 20 events in order.
func watchPrefix(ctx context.Context, c *clientv3.Client) error {
	watched := c.Watch(clientv3.WithRequireLeader(ctx), "go/w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if created := <-watched; !created.Created || created.Err() != nil {
		return fmt.Errorf("not created: %v, %w", created, created.Err())
	}
	type change struct {
		key  string
		kind mvccpb.Event_EventType
		rev  int64
	}
	var want []change
	for n := range 10 {
		key := fmt.Sprintf("go/w/%d", n)
		answer, err := c.Put(ctx, key, "v")
		if err != nil {
			return err
		}
		want = append(want, change{key, mvccpb.Event_PUT, answer.Header.Revision})
	}
	for n := range 10 {
		key := fmt.Sprintf("go/w/%d", n)
		answer, err := c.Delete(ctx, key)
		if err != nil {
			return err
		}
		want = append(want, change{key, mvccpb.Event_DELETE, answer.Header.Revision})
	}
	for len(want) > 0 {
		answer, open := <-watched
		if !open || answer.Err() != nil {
			return fmt.Errorf("watch ended with %d events missing: %w", len(want), answer.Err())
		}
		for _, event := range answer.Events {
			got := change{string(event.Kv.Key), event.Type, event.Kv.ModRevision}
			if len(want) == 0 || got != want[0] {
				return fmt.Errorf("event %v, expected %v", got, want)
			}
			if event.Type == mvccpb.Event_DELETE && (event.PrevKv == nil || string(event.PrevKv.Value) != "v") {
				return fmt.Errorf("delete of %s without its previous value", got.key)
			}
			want = want[1:]
		}
	}
	return c.RequestProgress(ctx)
}

func watchPast(ctx context.Context, c *clientv3.Client) error {
	put, err := c.Put(ctx, "go/p", "1")
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	answer := <-c.Watch(watching, "go/p", clientv3.WithRev(put.Header.Revision))
	if answer.Err() != nil || len(answer.Events) != 1 || !answer.Events[0].IsCreate() {
		return fmt.Errorf("from the past: %v, %w", answer, answer.Err())
	}
	if put, err = c.Put(ctx, "go/p", "2"); err != nil {
		return err
	}
	if _, err = c.Compact(ctx, put.Header.Revision); err != nil {
		return err
	}
	answer = <-c.Watch(watching, "go/p", clientv3.WithRev(put.Header.Revision-1))
	if !errors.Is(answer.Err(), rpctypes.ErrCompacted) || answer.CompactRevision != put.Header.Revision {
		return fmt.Errorf("from the compacted past: %v, %v", answer, answer.Err())
	}
	return nil
}

// leaseEnds grants 5 s and expects the key to be there at first and gone after 6 s.
func leaseEnds(ctx context.Context, c *clientv3.Client) error {
	before := time.Now()
	lease, err := c.Grant(ctx, 5)
	if err != nil || lease.TTL != 5 {
		return fmt.Errorf("grant: %v, %w", lease, err)
	}
	if _, err = c.Put(ctx, "go/lease", "x", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	// On a machine that stood still it may have ended by now, and rightly.
	if got, err := c.Get(ctx, "go/lease"); err != nil || got.Count != 1 && time.Since(before) < 5*time.Second {
		return fmt.Errorf("gone after 3 s: %v, %w", got, err)
	}
	for {
		// The context ends it.
		got, err := c.Get(ctx, "go/lease")
		if err != nil {
			return fmt.Errorf("still there: %v, %w", got, err)
		}
		if got.Count == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	left, err := c.TimeToLive(ctx, lease.ID)
	if err != nil || left.TTL != -1 {
		return fmt.Errorf("time to live of an ended lease: %v, %w", left, err)
	}
	return nil
}

// leaseLives keeps a 10 s lease alive for 15 s and then revokes it.
func leaseLives(ctx context.Context, c *clientv3.Client) error {
	lease, err := c.Grant(ctx, 10)
	if err != nil {
		return err
	}
	if _, err = c.Put(ctx, "go/alive", "x", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	alive, err := c.KeepAlive(keeping, lease.ID)
	if err != nil {
		return err
	}
	answers := 0
	for end := time.After(15 * time.Second); ; {
		select {
		case answer, open := <-alive:
			if !open || answer.TTL != 10 {
				return fmt.Errorf("keep alive answer %d: %v", answers, answer)
			}
			answers++
			continue
		case <-end:
		}
		break
	}
	if got, err := c.Get(ctx, "go/alive"); err != nil || got.Count != 1 || answers < 2 {
		return fmt.Errorf("not kept alive by %d answers: %v, %w", answers, got, err)
	}
	stop()
	if _, err = c.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	if got, err := c.Get(ctx, "go/alive"); err != nil || got.Count != 0 {
		return fmt.Errorf("there after revoke: %v, %w", got, err)
	}
	return nil
}

func lockAndElection(ctx context.Context, c *clientv3.Client) error {
	session, err := concurrency.NewSession(c, concurrency.WithTTL(60))
	if err != nil {
		return err
	}
	defer session.Close()
	lock := concurrency.NewMutex(session, "go/lock")
	if err := lock.Lock(ctx); err != nil {
		return err
	}
	other, err := concurrency.NewSession(c, concurrency.WithTTL(60))
	if err != nil {
		return err
	}
	defer other.Close()
	if err := concurrency.NewMutex(other, "go/lock").TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		return fmt.Errorf("second lock: %v", err)
	}
	if err := lock.Unlock(ctx); err != nil {
		return err
	}
	election := concurrency.NewElection(session, "go/election")
	if err := election.Campaign(ctx, "me"); err != nil {
		return err
	}
	leader, err := election.Leader(ctx)
	if err != nil || string(leader.Kvs[0].Value) != "me" {
		return fmt.Errorf("leader: %v, %w", leader, err)
	}
	return election.Resign(ctx)
}

func maintenance(ctx context.Context, c *clientv3.Client) error {
	endpoint := c.Endpoints()[0]
	status, err := c.Status(ctx, endpoint)
	if err != nil || status.Leader == 0 || len(status.Errors) != 0 {
		return fmt.Errorf("status: %v, %w", status, err)
	}
	members, err := c.MemberList(ctx)
	if err != nil || len(members.Members) == 0 {
		return fmt.Errorf("members: %v, %w", members, err)
	}
	hash, err := c.HashKV(ctx, endpoint, 0)
	if err != nil || hash.Hash == 0 {
		return fmt.Errorf("hash: %v, %w", hash, err)
	}
	return nil
}
