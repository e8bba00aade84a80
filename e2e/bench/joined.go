package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What a host asks for when it shows that it lives, and when it renews its token.
const (
	kindHeartbeat = "patch leases"
	kindRenewal   = "create serviceaccounts/token"
	kindAuthority = "get configmaps" // read at each renewal
)

// renewalsPerHour is how often a token of a day is renewed: after 60 to 80 % of its life, at random.
const renewalsPerHour = 1 / (24 * 0.7)

// endJoining tells what an agent that joined asks of the API server in an hour. A renewal comes twice in three days, so
// no window of a benchmark holds one by itself: what is asked between two heartbeats is counted as it comes, and one
// renewal, which an agent makes when it starts, is counted for itself. Both are scaled to the hour.
func (b *bench) endJoining(ctx context.Context) error {
	if b.joined == nil {
		return errors.New("no agent has joined")
	}
	settled := b.joined.ready.Add(settled)
	b.now("waits until the agent that joined was idle for %s, and has shown twice that it lives", b.idleFor)
	if err := until(ctx, settled.Add(b.idleFor)); err != nil {
		return err
	}
	idle, took, beats, err := b.betweenHeartbeats(ctx, settled)
	if err != nil {
		return err
	}
	b.now("starts the agent that joined anew, so that it renews its token")
	renewed, err := b.renewal(ctx)
	if err != nil {
		return err
	}
	perHour := float64(sum(idle)) / took.Hours()
	b.figure("joined_requests_per_hour", perHour+renewalsPerHour*float64(sum(renewed)),
		"by the API server's audit log of the user of an agent that joined: %s in the %s between the first and the last of %d heartbeats, the last counted in, which is %s an hour; "+
			"and %s at one renewal of its token, of which there is one in %s hours on average",
		inWords(idle), took.Round(time.Second), beats, number(perHour), inWords(renewed), number(1/renewalsPerHour))
	return nil
}

// betweenHeartbeats counts what was asked after the first heartbeat since a time until the last one, and waits until
// there are two. So the window holds whole periods, and is not longer or shorter by chance.
func (b *bench) betweenHeartbeats(ctx context.Context, from time.Time) (kinds map[string]int, took time.Duration, beats int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+patience)
	defer cancel()
	for {
		all, err := b.logged(b.joined.user, from, time.Now())
		if err != nil {
			return nil, 0, 0, err
		}
		slices.SortFunc(all, func(a, b asked) int { return a.at.Compare(b.at) })
		var at []time.Time
		for _, request := range all {
			if request.kind == kindHeartbeat {
				at = append(at, request.at)
			}
		}
		if len(at) < 2 {
			if err := until(ctx, time.Now().Add(time.Second)); err != nil {
				return nil, 0, 0, fmt.Errorf("waiting until the agent that joined has shown twice that it lives: %w", err)
			}
			continue
		}
		first, last := at[0], at[len(at)-1]
		kinds = map[string]int{}
		for _, request := range all {
			if request.at.After(first) && !request.at.After(last) {
				kinds[request.kind]++
			}
		}
		if kinds[kindRenewal] > 0 {
			return nil, 0, 0, errors.New("the agent that joined renewed its token when it should have been idle")
		}
		return kinds, last.Sub(first), len(at), nil
	}
}

// renewal counts what one renewal asks for.
func (b *bench) renewal(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	b.joined.process.KillAgent()
	for {
		kinds, err := b.requests(b.joined.user, began, time.Now())
		if err != nil {
			return nil, err
		}
		// The certificates are read with the new token.
		if kinds[kindRenewal] > 0 && kinds[kindAuthority] > 0 {
			return map[string]int{kindRenewal: kinds[kindRenewal], kindAuthority: kinds[kindAuthority]}, nil
		}
		if err := until(ctx, time.Now().Add(100*time.Millisecond)); err != nil {
			return nil, fmt.Errorf("waiting until the agent that joined has renewed its token: %w; it said last:\n%s", err, b.joined.process.Log())
		}
	}
}

func sum(kinds map[string]int) int {
	total := 0
	for _, n := range kinds {
		total += n
	}
	return total
}

// inWords writes how many requests of which kinds there were.
func inWords(kinds map[string]int) string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		words = append(words, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	return strings.Join(words, ", ")
}
