package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// How much the controller is given.
const (
	manyHosts    = 1000
	manyMachines = 100 // of which each has one of the hosts
	atOnce       = 16  // requests of this program at the same time

	renewal = 5 * time.Minute // in which each agent renews its Lease once
)

func hostName(i int) string    { return fmt.Sprintf("host-%04d", i) }
func machineName(i int) string { return fmt.Sprintf("machine-%04d", i) }

// scale makes the hosts and machines, once.
func (b *bench) scale(ctx context.Context) error {
	if b.scaled {
		return nil
	}
	b.now("creates %d ElementalHosts", manyHosts)
	if _, err := b.Cluster.Kubectl(ctx, "create", "namespace", scaleNamespace); err != nil {
		return err
	}
	began := time.Now()
	err := each(ctx, manyHosts, func(i int) error { return b.createHost(ctx, i) })
	if err == nil {
		err = each(ctx, manyHosts, func(i int) error { return b.renewLease(ctx, hostName(i)) })
	}
	if err != nil {
		return err
	}
	b.figure("lease_1000_s", time.Since(began).Seconds(), "from the creation of the first of %d ElementalHosts, %d at a time, until the controller has made the Lease of each and it is renewed once", manyHosts, atOnce)
	b.keepRenewing(ctx)
	b.now("reports as the agents of %d hosts", manyHosts)
	watcher, err := b.beginWatch(ctx, scaleNamespace, "")
	if err != nil {
		return err
	}
	defer watcher.stop()
	began = time.Now()
	reported := make(chan error, 1)
	go func() {
		reported <- each(ctx, manyHosts, func(i int) error { return b.reportAsAgent(ctx, hostName(i)) })
	}()
	done := map[string]bool{}
	err = watcher.follow(ctx, func(h *v1beta1.ElementalHost) bool {
		if ready(h) {
			done[h.Name] = true
		}
		return len(done) == manyHosts
	})
	if err := errors.Join(err, <-reported); err != nil {
		return fmt.Errorf("waiting until all hosts are ready, of which %d are: %w", len(done), err)
	}
	b.figure("ready_1000_s", time.Since(began).Seconds(), "first reports of %d simulated agents, sent %d at a time right after that, from the first until the controller has said Ready of all", manyHosts, atOnce)
	b.now("creates %d ElementalMachines", manyMachines)
	if err := each(ctx, manyMachines, func(i int) error { return b.createMachine(ctx, i) }); err != nil {
		return err
	}
	b.scaled = true
	return b.awaitForwarded(ctx, 0)
}

// rest is how long a controller has nothing to do before its memory is read.
const rest = 30 * time.Second

// takeOneHost measures a controller that has only the idle agent's host.
func (b *bench) takeOneHost(ctx context.Context) error {
	i, err := b.idle(ctx)
	if err != nil {
		return err
	}
	known, err := b.Cluster.Kubectl(ctx, "get", "elementalhosts", "--all-namespaces", "-o", "name")
	if err != nil {
		return err
	}
	if count := len(strings.Fields(known)); count != 1 {
		return fmt.Errorf("there are %d hosts, and not one", count)
	}
	b.now("lets the controller rest")
	if err := until(ctx, i.ready.Add(rest)); err != nil {
		return err
	}
	m, err := b.memoryOfController()
	if err != nil {
		return err
	}
	b.figure("controller_rss_mib_1_host", mebibytes(m.resident), "VmRSS with one host, whose agent was ready at least %s ago, of which RssAnon is %s MiB; its peak was %s MiB", rest, number(mebibytes(m.anonymous)), number(mebibytes(m.peak)))
	return nil
}

// takeController measures a controller that has many hosts.
func (b *bench) takeController(ctx context.Context) error {
	if err := b.scale(ctx); err != nil {
		return err
	}
	b.now("lets the controller rest")
	if err := until(ctx, time.Now().Add(rest)); err != nil {
		return err
	}
	m, err := b.memoryOfController()
	if err != nil {
		return err
	}
	b.figure("controller_rss_mib_1000_hosts", mebibytes(m.resident), "VmRSS with %d hosts, simulated by full reports of status and by Leases renewed every %s, and %d machines, %s after the last other change; its peak was %s MiB", manyHosts, renewal, manyMachines, rest, number(mebibytes(m.peak)))
	b.figure("controller_anon_mib", mebibytes(m.anonymous), "RssAnon of the same process at the same time: what is not a part of the program's file")
	return b.takeForwarding(ctx)
}

func (b *bench) memoryOfController() (memory, error) {
	pid, err := child("controller")
	if err != nil {
		return memory{}, err
	}
	return memoryOf(pid)
}

// takeForwarding changes all machines at once.
func (b *bench) takeForwarding(ctx context.Context) error {
	const rounds = 3
	var took, sent []time.Duration
	for round := 1; round <= rounds; round++ {
		b.now("changes %d machines, %d of %d times so far", manyMachines, round-1, rounds)
		began := time.Now()
		patching := make(chan error, 1)
		go func() {
			err := each(ctx, manyMachines, func(i int) error { return b.patchMachine(ctx, i, round) })
			sent = append(sent, time.Since(began))
			patching <- err
		}()
		err := b.awaitForwarded(ctx, round)
		took = append(took, time.Since(began))
		if err := errors.Join(err, <-patching); err != nil {
			return err
		}
	}
	b.figure("forward_1000_s", median(took).Seconds(),
		"a changed osVersionManagement of %d machines in a cluster of %d hosts, from the first of the patches, sent %d at a time in %s s, until it stands in the last host's spec, by a watch; median of %s",
		manyMachines, manyHosts, atOnce, number(median(sent).Seconds()), spread(took))
	return nil
}

// awaitForwarded waits until the hosts of all machines have the wish of a round.
func (b *bench) awaitForwarded(ctx context.Context, round int) error {
	wanted, done := wish(round), map[string]bool{}
	err := b.watchHosts(ctx, scaleNamespace, "", func(h *v1beta1.ElementalHost) bool {
		if has := h.Spec.OSVersionManagement; has != nil && string(has.Raw) == wanted {
			done[h.Name] = true
		}
		return len(done) == manyMachines
	})
	if err != nil {
		return fmt.Errorf("waiting until %d machines are forwarded, of which %d are: %w", manyMachines, len(done), err)
	}
	return nil
}

// wish is what the machines ask for in a round.
func wish(round int) string {
	return fmt.Sprintf(`{"osVersion":{"imageUri":"oci://registry.example/system:v%d"}}`, round)
}

func (b *bench) patchMachine(ctx context.Context, i, round int) error {
	machine := &v1beta1.ElementalMachine{ObjectMeta: metav1.ObjectMeta{Namespace: scaleNamespace, Name: machineName(i)}}
	return b.cluster.Patch(ctx, machine, mergePatch(`{"spec":{"osVersionManagement":`+wish(round)+`}}`))
}

func (b *bench) createHost(ctx context.Context, i int) error {
	host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: scaleNamespace, Name: hostName(i)}}
	if i < manyMachines {
		host.Spec.MachineRef = &v1beta1.ObjectReference{Namespace: scaleNamespace, Name: machineName(i)}
	}
	return b.cluster.Create(ctx, host)
}

func (b *bench) createMachine(ctx context.Context, i int) error {
	return b.cluster.Create(ctx, &v1beta1.ElementalMachine{
		ObjectMeta: metav1.ObjectMeta{Namespace: scaleNamespace, Name: machineName(i)},
		Spec: v1beta1.ElementalMachineSpec{
			HostRef:             &v1beta1.ObjectReference{Namespace: scaleNamespace, Name: hostName(i)},
			OSVersionManagement: &runtime.RawExtension{Raw: []byte(wish(0))},
		},
	})
}

// reportAsAgent applies the status that the agent of a host reports which has all there is to report, but for
// failures.
func (b *bench) reportAsAgent(ctx context.Context, name string) error {
	now := metav1.Now()
	condition := func(kind, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: now}
	}
	version := func(name string) *v1beta1.Version {
		return &v1beta1.Version{Reference: "oci://registry.example/system:" + name, Version: name, Digest: "sha256:" + strings.Repeat("4", 64)}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalHost",
		"metadata": map[string]string{"name": name, "namespace": scaleNamespace},
		"status": v1beta1.ElementalHostStatus{
			Phase: "Running", ObservedGeneration: 1,
			Conditions: []metav1.Condition{
				condition("RegistrationReady", "Registered", ""), condition("InstallationReady", "Installed", ""),
				condition("BootstrapReady", "Bootstrapped", ""),
				condition("OSVersionReady", "Applied", "the requested OS version v1.2.3 runs and was found healthy"),
			},
			OSVersion: &v1beta1.OSVersionStatus{
				Outcome: "Applied", Attempts: 1, LastAttemptTime: &now,
				Requested: strings.Repeat("7", 64), Applied: strings.Repeat("7", 64),
				Booted: version("v1.2.3"), Previous: version("v1.2.2"),
			},
			System: &v1beta1.SystemStatus{
				BootID: "0c5f7d4c-0a4c-4f8e-9b7e-" + name, MachineID: "3f1d6f6b0d7c4d5c8a55f1c5b4a3f2e1", OSImage: "Debian GNU/Linux 12 (bookworm)",
				KernelVersion: "6.1.0-30-amd64", Architecture: "amd64", AgentVersion: "v0.1.0", Plugin: "image",
				PluginSchema: `{"description":"` + strings.Repeat("What may be asked for. ", 128) + `"}`, // 3 KiB, about as much as the image plugin says.
			},
		},
	})
	if err != nil {
		return err
	}
	host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: scaleNamespace, Name: name}}
	return b.cluster.Status().Patch(ctx, host, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner("elemental-agent"), client.ForceOwnership)
}

// renewLease renews a host's Lease as its agent does, as soon as the controller has made it.
func (b *bench) renewLease(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: scaleNamespace, Name: name}}
		text, err := json.Marshal(map[string]any{"spec": map[string]any{"holderIdentity": name, "renewTime": metav1.NowMicro()}})
		if err != nil {
			return err
		}
		err = b.cluster.Patch(ctx, lease, mergePatch(string(text)))
		if err == nil || !apierrors.IsNotFound(err) {
			return err
		}
		if err := until(ctx, time.Now().Add(100*time.Millisecond)); err != nil {
			return fmt.Errorf("waiting until the controller makes the Lease of host %s: %w", name, err)
		}
	}
}

// keepRenewing renews one Lease after the other, as so many agents do, until the benchmark ends.
func (b *bench) keepRenewing(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var over sync.WaitGroup
	over.Go(func() {
		for i := 0; until(ctx, time.Now().Add(renewal/manyHosts)) == nil; i++ {
			// An agent tries again later as well.
			_ = b.renewLease(ctx, hostName(i%manyHosts))
		}
	})
	b.later(func() { stop(); over.Wait() })
}

// each calls do for 0 to count-1, some at a time, and returns the first error.
func each(ctx context.Context, count int, do func(i int) error) error {
	work, failed := make(chan int), make(chan error, atOnce)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	err := func() error {
		defer close(work)
		for i := range count {
			select {
			case work <- i:
			case err := <-failed:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}()
	workers.Wait()
	close(failed)
	return errors.Join(err, <-failed)
}
