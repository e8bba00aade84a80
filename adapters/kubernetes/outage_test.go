package kubernetes

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// script answers calls one after the other: a status, or 0 for a server that cannot be reached.
type script struct {
	answers []int
	bodies  []string
	times   []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.times = append(s.times, time.Now())
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		s.bodies = append(s.bodies, string(body))
	}
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	if answer == 0 {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	return &http.Response{StatusCode: answer, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}}, nil
}

func TestPatience(t *testing.T) {
	for name, row := range map[string]struct {
		method  string
		answers []int
		want    int
		within  time.Duration
	}{
		"what can be answered is":                          {"GET", []int{200}, 200, 0},
		"a read waits out an outage":                       {"GET", []int{0, 0, 0, 0, 0, 200}, 200, 5 * time.Second},
		"a write does, too":                                {"PATCH", []int{0, 0, 200}, 200, time.Second},
		"and the roles that are not there":                 {"GET", []int{0, 403, 403, 200}, 200, 2 * time.Second},
		"a real refusal comes in the end":                  {"GET", []int{0, 403}, 403, 7 * time.Second},
		"without an outage it comes at once":               {"GET", []int{403, 200}, 403, 0},
		"what is not there is not there":                   {"GET", []int{404, 200}, 404, 0},
		"a read waits for a gateway":                       {"GET", []int{502, 503, 504, 200}, 200, 2 * time.Second},
		"a write that may have happened is not made again": {"PATCH", []int{504, 200}, 504, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := &script{answers: row.answers}
				request, err := http.NewRequestWithContext(t.Context(), row.method, "https://nowhere", strings.NewReader("body"))
				is.NoErr(err)
				began := time.Now()
				response, err := patient{next: s}.RoundTrip(request)
				is.NoErr(err)
				is.Equal(response.StatusCode, row.want)
				is.True(time.Since(began) <= row.within)
				for _, body := range s.bodies {
					is.Equal(body, "body") // Each attempt carries it whole.
				}
			})
		})
	}
}

// However long a server was away, it is asked often when it answers again.
func TestPatienceIsShortWithAServerThatIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &script{answers: []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 404, 403, 404, 200}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://nowhere", nil)
		is.NoErr(err)
		response, err := patient{next: s}.RoundTrip(request)
		is.NoErr(err)
		is.Equal(response.StatusCode, 200)
		is.Equal(len(s.times), 14)
		is.True(s.times[9].Sub(s.times[8]) >= mostPause/2)
		is.True(s.times[13].Sub(s.times[10]) <= 3*firstPause)

		// A gateway that has lost its server is not pressed.
		s = &script{answers: []int{502, 502, 502, 502, 502, 502, 200}}
		_, err = patient{next: s}.RoundTrip(request)
		is.NoErr(err)
		is.True(s.times[6].Sub(s.times[5]) >= mostPause/2)
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://nowhere", nil)
		is.NoErr(err)
		began := time.Now()
		_, err = patient{next: &script{answers: []int{0}}}.RoundTrip(request)
		is.True(err != nil)
		is.Equal(time.Since(began), 3*time.Second)

		ending := make(chan struct{})
		close(ending)
		began = time.Now()
		_, err = patient{next: &script{answers: []int{0}}, ending: ending}.RoundTrip(request.WithContext(t.Context()))
		is.True(err != nil)
		is.Equal(time.Since(began), time.Duration(0))
	})
}
