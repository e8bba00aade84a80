package main

import (
	"context"
	"fmt"
	"time"

	"elemental/adapters/kubernetes/api/v1beta1"
)

const (
	outage  = 30 * time.Second
	outages = 3
)

// takeOutages stops the API server, and measures how soon after its return the controller works.
func (b *bench) takeOutages(ctx context.Context) error {
	if err := b.scale(ctx); err != nil {
		return err
	}
	var took, accepted []time.Duration
	for n := range outages {
		b.now("keeps the API server away for %s, %d of %d times so far", outage, n, outages)
		b.Cluster.StopAPIServer()
		if err := until(ctx, time.Now().Add(outage)); err != nil {
			return err
		}
		b.now("starts the API server again")
		if err := b.Cluster.StartAPIServer(ctx); err != nil {
			return err
		}
		patched, recovered, err := b.firstForwarded(ctx, 100+n)
		if err != nil {
			return err
		}
		accepted, took = append(accepted, patched), append(took, recovered)
	}
	b.figure("outage_recovery_s", median(took).Seconds(),
		"API server stopped for %s: from its serving all resources again, at which moment one of %d machines is changed, until that stands in the host's spec; %d hosts, no leader election; median of %s, of which the API server took %s until it accepted the change of the machine",
		outage, manyMachines, manyHosts, spread(took), spread(accepted))
	return nil
}

// firstForwarded changes a machine and waits until the controller has forwarded that. It returns how long it took
// until the API server had accepted the change, and until it was forwarded.
func (b *bench) firstForwarded(ctx context.Context, round int) (accepted, forwarded time.Duration, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The first calls may meet connections that the outage has cut, or roles that are not known yet.
	for {
		err := b.patchMachine(ctx, 0, round)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return 0, 0, fmt.Errorf("changing a machine after the outage: %w", err)
		}
		if err := until(ctx, time.Now().Add(20*time.Millisecond)); err != nil {
			return 0, 0, err
		}
	}
	accepted = time.Since(began)
	err = b.watchHosts(ctx, scaleNamespace, hostName(0), func(h *v1beta1.ElementalHost) bool {
		has := h.Spec.OSVersionManagement
		return has != nil && string(has.Raw) == wish(round)
	})
	return accepted, time.Since(began), err
}
