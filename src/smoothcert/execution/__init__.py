"""Computing runs and screenings: in this process, in several, or on a cluster."""
